"""`kyvo train STAGE`: the stages of a recipe, each continuing where it stopped, in one work folder.

    examples   images with ground truth (ray caster, renders)      -> WORK/examples/
    encoder    encoder and dense head, continuous                  -> WORK/encoder/
    codes      the same through the quantiser                      -> WORK/codes/
    pixels     the image decoder, codes frozen                     -> WORK/pixels/
    decoder    the language model                                  -> WORK/decoder/
    export     the model folder, with its card
    card       the card anew, after `kyvo evaluate ... --json MODEL/evaluation.json`
    shapes     the shape tokenizer, with a recipe and a model folder of its own (see `shapes`)
    all        one after the other, with `--until STAGE` as far as that one
    full       a decoder in the published format and size, by a recipe of its own (see `full`)

A stage that has reached the recipe's steps is passed over. `--minutes` ends a stage early with a checkpoint, and the
next call goes on from it. `--from MODEL` starts from the weights of a model folder, with a fresh optimizer; what a
stage of no steps makes is that model's. Several processes share the work where torchrun starts them (see
`distributed`).
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

import torch

from kyvo_ros.machine import cores
from kyvo_ros.model.devices import DeviceError, tried_device
from kyvo_ros.training import distributed, full
from kyvo_ros.training.recipe import RecipeError
from kyvo_ros.training.shapes import load_shape_recipe, train_shapes
from kyvo_ros.training.stages import STAGES, run_stage
from kyvo_ros.training.trainer import TrainingError
from kyvo_ros.training.workshop import Workshop

log = logging.getLogger(__name__)

DEFAULT_RECIPE, DEFAULT_OUT = Path("recipes/clevr-nano.yaml"), Path("models/clevr-nano")
DEFAULT_SHAPE_RECIPE, DEFAULT_SHAPE_OUT = Path("recipes/shapes/nano.yaml"), Path("models/shapes-nano")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo train`."""
    parser.add_argument("stage", choices=(*STAGES, "shapes", "all", "full"), help="which part of the recipe to train")
    parser.add_argument("--until", choices=tuple(STAGES), help="with `all`: the last stage to train")
    parser.add_argument("--recipe", type=Path, help=f"YAML file (default: {DEFAULT_RECIPE}; for shapes "
                        f"{DEFAULT_SHAPE_RECIPE})")
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of checkpoints (default: %(default)s)")
    parser.add_argument("--renders", type=Path, nargs="+", default=[], metavar="DIR", help="folders of real renders to mix in: "
                        "CLEVR's (ours or CLEVR v1.0), the last ones of the first kept for measuring; for recipes with "
                        "objects those of tools/render_objects.py")
    parser.add_argument("--shapes", type=Path, metavar="DIR", help="folder of the shape tokenizer, for recipes with "
                        "objects")
    parser.add_argument("--from", dest="source", type=Path, help="model folder whose weights to start from")
    parser.add_argument("--out", type=Path, help=f"model folder to write (default: {DEFAULT_OUT}; for shapes "
                        f"{DEFAULT_SHAPE_OUT})")
    parser.add_argument("--minutes", type=float, help="stop each stage after this long, with a checkpoint")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=cores(),
                        help="processes of the ray caster (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=own_cores(), help="threads of torch (default: %(default)s)")
    parser.add_argument("--data", nargs="+", default=[], metavar="NAME=FILE", help="with `full`: published tokens, "
                        "such as image_source=images.json three_d_source=scenes.json")
    parser.add_argument("--dry-run", action="store_true", help="with `full`: print parameters, memory and tokens")


def own_cores() -> int:
    """Processor cores for each of the processes that torchrun has started."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def run(args: argparse.Namespace) -> int:
    """Run `kyvo train`; returns the exit code. Raises RecipeError or TrainingError with what to do."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    torch.set_num_threads(max(1, args.threads))
    if args.stage != "full" and (args.data or args.dry_run):
        raise TrainingError(f"--data and --dry-run belong to stage full, not to {args.stage}")
    if args.source is not None and not args.source.is_dir():
        raise TrainingError(f"--from {args.source} is no model folder")
    for folder in args.renders:
        if not folder.is_dir():
            raise TrainingError(f"--renders {folder} is no folder")
    if args.shapes is not None and not args.shapes.is_dir():
        raise TrainingError(f"--shapes {args.shapes} is no model folder")
    shapes = args.stage == "shapes"
    if args.out is None and _writes_another_model(args):
        raise TrainingError("give --out, the folder of the model to write; only the shipped recipe writes the shipped "
                            "model without")
    args.recipe = args.recipe or (DEFAULT_SHAPE_RECIPE if shapes else DEFAULT_RECIPE)
    args.out = args.out or (DEFAULT_SHAPE_OUT if shapes else DEFAULT_OUT)
    device = device_named(args.device)
    if shapes:
        _check_alone(args)
        train_shapes(load_shape_recipe(args.recipe), args.work, args.out, device, args.minutes, args.workers,
                     recipe_path=str(args.recipe), source=args.source)
        return 0
    distributed.start(device)
    if args.stage == "full":
        try:
            full.run(args, device)
            distributed.wait()  # who leaves first takes the connection from the others
        finally:
            distributed.stop()
        return 0
    workshop = Workshop(args.recipe, args.work, device, renders=tuple(args.renders), shapes=args.shapes,
                        source=args.source, out=args.out, minutes=args.minutes, workers=args.workers)
    try:
        for name in _stages(args.stage, args.until):
            log.info("stage %s of %s", name, args.recipe)
            run_stage(name, workshop)
            distributed.wait()
            if args.stage == "all" and workshop.steps_left(name):
                log.info("stage %s is not at its end yet; the same command goes on", name)
                break
    finally:
        distributed.stop()
    return 0


def _writes_another_model(args: argparse.Namespace) -> bool:
    """Whether the command writes a model that is not the one its default folder is for."""
    if args.stage == "full":
        return not args.dry_run
    shipped = DEFAULT_SHAPE_RECIPE if args.stage == "shapes" else DEFAULT_RECIPE
    writes = {"shapes", "export", "card"} & set(_stages(args.stage, args.until))
    return bool(writes) and args.recipe is not None and args.recipe.resolve() != shipped.resolve()


def _check_alone(args: argparse.Namespace) -> None:
    """Raises TrainingError for what the stage `shapes` would leave unused."""
    if args.renders or args.until or args.shapes:
        raise TrainingError("stage shapes takes neither --renders nor --until nor --shapes")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise TrainingError("stage shapes runs in one process; start it without torchrun")


def _stages(stage: str, until: str | None) -> list[str]:
    if stage != "all":
        return [stage]
    names = list(STAGES)
    return names[: names.index(until) + 1] if until else names


def device_named(name: str) -> torch.device:
    """`auto` is CUDA where there is a device. Raises TrainingError for a device that is not there."""
    if name == "auto":
        name = f"cuda:{distributed.local_rank()}" if torch.cuda.is_available() else "cpu"
    try:
        return tried_device(name)
    except DeviceError as error:
        raise TrainingError(str(error)) from error


__all__ = ["RecipeError", "TrainingError", "add_arguments", "device_named", "run"]
