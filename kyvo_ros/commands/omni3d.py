"""`kyvo omni3d`: data in Omni3D's format, written by the ray caster, turned into tokens, and read by a model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kyvo_ros.commands.common import UsageError, write_text

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.model.folder import ModelBundle
    from kyvo_ros.scene import Scene

_BATCH = 8
_LAYOUT = "--layout objectron"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands of `kyvo omni3d`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    write = commands.add_parser("write", help="a synthetic data set: images, cameras and 3D boxes in metres")
    write.add_argument("--out", type=Path, required=True, metavar="DIR")
    write.add_argument("--split", default="train", help="name of the part (default: %(default)s)")
    write.add_argument("--scenes", type=int, default=100, metavar="N", help="images (default: %(default)s)")
    write.add_argument("--seed", type=int, default=0, help="decides everything (default: %(default)s)")
    write.set_defaults(run=_write)
    for name, run, about in (("tokenize", _tokenize, "published pre-tokenised JSON, to train on"),
                             ("predict", _predict, "scenes that a model sees, for `kyvo evaluate published`")):
        command = commands.add_parser(name, help=about)
        command.add_argument("--json", type=Path, required=True, metavar="FILE", help="Omni3D's, such as "
                             "Objectron_train.json")
        command.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of all images")
        command.add_argument("--model", type=Path, required=True, metavar="DIR", help="converted model folder")
        command.add_argument("--out", type=Path, required=True, help="folder to write" if name == "tokenize"
                             else "JSON file to write")
        command.set_defaults(run=run)


def _write(args: argparse.Namespace) -> int:
    from kyvo_ros.data.omni3d_synthetic import write_omni3d

    if args.scenes < 1:
        raise ValueError(f"--scenes must be positive, got {args.scenes}")
    print(f"written to {write_omni3d(args.out, args.split, args.scenes, args.seed)}")
    return 0


def _tokenize(args: argparse.Namespace) -> int:
    from kyvo_ros.data.omni3d import read_omni3d
    from kyvo_ros.training.tokenising import tokenise

    bundle, samples = naming_model(args.model, "category", _LAYOUT), read_omni3d(args.json, args.images)
    entries = ((sample.file_path, sample.image(), sample.scene()) for sample in samples)
    print("written to", *tokenise(entries, len(samples), bundle, args.out))
    return 0


def _predict(args: argparse.Namespace) -> int:
    from kyvo_ros.data.omni3d import read_omni3d

    bundle, samples = naming_model(args.model, "category", _LAYOUT), read_omni3d(args.json, args.images)
    scenes = [{"key": sample.file_path, "objects": [
        {"category": o.attributes["category"], "center_cam": o.position_m.tolist(), "dimensions": o.size_m.tolist()}
        for o in scene.objects]}
        for sample, scene in zip(samples, predicted_scenes(bundle, (sample.image() for sample in samples)))]
    write_predictions(args.out, scenes)
    return 0


def naming_model(folder: Path, word: str, layout: str) -> ModelBundle:
    """The model of a folder whose objects have one name, `word`, as `kyvo convert` with `layout` writes it.

    Raises UsageError for one of other objects, and as `load_model` does.
    """
    from kyvo_ros.model.folder import load_model

    bundle = load_model(folder, dtype="auto")
    named = [attribute.name for attribute in bundle.schema.words]
    if named != [word]:
        raise UsageError(f"{folder} describes objects by {', '.join(named)}, not by {word} alone; give a model that "
                         f"`kyvo convert {layout} --names ...` has written")
    return bundle


def predicted_scenes(bundle: ModelBundle, images: Iterable[np.ndarray]) -> Iterator[Scene]:
    """What a model says of images (H, W, 3) uint8 RGB, stretched as the published code does, in its schema's frame."""
    import torch

    from kyvo_ros.model.generation import generate
    from kyvo_ros.model.inference import CachedDecoder
    from kyvo_ros.model.precision import is_large
    from kyvo_ros.training.tokenising import codes_of

    decoder, images = CachedDecoder(bundle.decoder, shared=is_large(bundle.decoder)), iter(images)
    while part := list(islice(images, _BATCH)):
        codes = codes_of(part, bundle.image_tokenizer)
        prompts = torch.stack([torch.from_numpy(bundle.builder.prompt("I->3", image_codes=c).token_ids) for c in codes])
        for written in generate(decoder, prompts, grammar=bundle.grammar):
            yield bundle.grammar.decode_scene(written.token_ids)


def write_predictions(path: Path, scenes: list[dict[str, Any]]) -> None:
    """Write a file for `kyvo evaluate published`, and say where it is."""
    write_text(path, json.dumps({"scenes": scenes}))
    print(f"written to {path}")
