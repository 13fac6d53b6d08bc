"""What commands share: the options of a model, running it over samples, and writing files.

Heavy imports wait until a command runs, so that `kyvo --help` needs neither torch nor ROS.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.autoencoders.looks import Look
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import CameraView, Scene
    from kyvo_ros.tokens.schema import SceneSchema

#: The split that scores are measured on.
_SCORED = "val"


#: As `kyvo_ros.model.precision.DTYPES`, which needs torch; a test compares them.
DTYPES = ("auto", "float32", "bfloat16", "float16")


class UsageError(ValueError):
    """Options that parse but do not fit together, or a file they name that does not hold what it should."""


def add_model_options(parser: argparse.ArgumentParser, shipped: str = "the one shipped with the package") -> None:
    """Which model runs, and on what."""
    parser.add_argument("--model", type=Path, help=f"model folder (default: {shipped})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, default="auto", help="of the decoder; auto: float32 for small "
                        "models, for large ones what their folder stores (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")


def add_data_folder(parser: argparse.ArgumentParser) -> None:
    """Which images are scored."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="CLEVR folder")
    parser.add_argument("--split", default="val", help="of a CLEVR v1.0 folder (default: %(default)s)")


def add_held_out_images(parser: argparse.ArgumentParser) -> None:
    """Which images are used to choose or fit something: those that training held out; see `held_out_images`."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="CLEVR folder of training images")
    parser.add_argument("--split", default="train", help="of a CLEVR v1.0 folder (default: %(default)s)")
    parser.add_argument("--last", type=int, metavar="N", help="images that training held out, counted from the end "
                        "(default: the held_out that a recipe has where it states none)")


def add_effort(parser: argparse.ArgumentParser, default: str | None = "fast", which: str = "%(default)s") -> None:
    """How hard the model looks; `which` says what the default is."""
    parser.add_argument("--effort", choices=("fast", "accurate", "thorough"), default=default, help="look at an image "
                        f"once, or five or 24 times and take what the looks agree on (default: {which})")


def add_shape_options(parser: argparse.ArgumentParser) -> None:
    """In which order the shapes of a scene are written, as `kyvo_ros.model.shapes.ORDERS`, which needs torch; and how
    hard the model looks before.
    """
    parser.add_argument("--order", choices=("parallel", "sequence"), default="parallel", help="write the shapes of all "
                        "objects at once, or one after the other (default: %(default)s)")
    add_effort(parser, None, "accurate; of --order sequence fast, the only one it can")


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images at once (default: %(default)s)")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """How the codes of a picture are chosen."""
    parser.add_argument("--temperature", type=float, default=0.0, help="of sampling; 0 takes the likeliest codes "
                        "(default: %(default)s)")
    parser.add_argument("--top-k", type=int, metavar="K", help="sample among the K likeliest codes alone")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: %(default)s)")


def add_report_files(parser: argparse.ArgumentParser) -> None:
    """Where scores are written, beside the terminal; see `write_report`."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the scores as Markdown tables")


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Raises UsageError where one of these options is given and under 1."""
    for name in names:
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")


def check_writable(args: argparse.Namespace, name: str, folder: bool = False) -> None:
    """Raises UsageError where the file, or `folder`, of this option certainly cannot be written, before time is spent."""
    path: Path | None = getattr(args, name)
    if path is None:
        return
    if path.exists() and path.is_dir() != folder:
        raise UsageError(f"--{name} {path} is {'a file' if folder else 'a folder'}; name another")
    above = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not os.access(above, os.W_OK) or not (above == path or above.is_dir()):
        raise UsageError(f"--{name} {path} cannot be written: {above} is not a folder that may be written to")


def load_pipeline(args: argparse.Namespace, also: Sequence[str] = (), shapes: bool = False) -> KyvoPipeline:
    """The pipeline that the options of `add_model_options` name; `also` as for `KyvoPipeline.from_pretrained`. Where
    none is named, that of the shipped model, or of the shipped one that sees shapes.
    """
    from kyvo_ros.pipeline import SHIPPED_OBJECTS, KyvoPipeline, shipped_model
    check_counts(args, "threads")
    folder = shipped_model(SHIPPED_OBJECTS) if shapes and args.model is None else args.model
    return KyvoPipeline.from_pretrained(folder, args.device, args.threads, args.dtype, also)


def held_out_images(args: argparse.Namespace, schema: SceneSchema) -> list[ClevrSample]:
    """The images that the options of `add_held_out_images` name. Raises UsageError."""
    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.training.recipe import ExampleSettings

    if _SCORED in (args.split, args.data.resolve().name):
        raise UsageError(f"'{_SCORED}' is for scoring; use images that training held out (--split train)")
    last = args.last or ExampleSettings().held_out
    samples = read_clevr(args.data, args.split, schema)
    if last > len(samples):
        raise UsageError(f"--last {last} is more than the {len(samples)} images of {args.data}")
    return samples[-last:]


def predict(pipeline: KyvoPipeline, samples: list[ClevrSample], batch_size: int,
            effort: str | Sequence[Look] = "fast") -> tuple[list[Scene], float]:
    """The scene of every sample, and the seconds of the pipeline alone."""
    return recognised(pipeline, (s.image() for s in samples), [s.view for s in samples], batch_size, effort)


def recognised(pipeline: KyvoPipeline, images: Iterable[np.ndarray], views: Sequence[CameraView], batch_size: int,
               effort: str | Sequence[Look] = "fast") -> tuple[list[Scene], float]:
    """The scene of every image, drawn from `images` a batch at a time, and the seconds of the pipeline alone."""
    from tqdm import tqdm

    images, predictions, seconds = iter(images), [], 0.0
    with tqdm(total=len(views), desc="recognising", unit="image", disable=None) as progress:
        for start in range(0, len(views), batch_size):
            part = views[start:start + batch_size]
            predictions += pipeline.recognize_batch(list(islice(images, len(part))), part, effort=effort)
            seconds += sum(pipeline.last_timings_s.values())
            progress.update(len(part))
    return predictions, seconds


def write_report(args: argparse.Namespace, document: dict[str, Any], markdown: str) -> None:
    """Write scores into the files that the options of `add_report_files` name."""
    if args.json:
        write_text(args.json, json.dumps(document, indent=1, allow_nan=False) + "\n")
    if args.markdown:
        write_text(args.markdown, markdown + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
