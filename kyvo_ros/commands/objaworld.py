"""`kyvo objaworld`: scenes in ObjaWorld's format, turned into tokens to train on, and predicted by a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.omni3d import naming_model, predicted_scenes, write_predictions

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.data.objaworld import ObjaworldSample

_LAYOUT = "--layout clevr"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands of `kyvo objaworld`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, about in (("tokenize", _tokenize, "published pre-tokenised JSON, to train on"),
                             ("predict", _predict, "scenes that a model sees, for `kyvo evaluate published`")):
        command = commands.add_parser(name, help=about)
        command.add_argument("--scenes", type=Path, required=True, metavar="DIR", help="folder of one JSON a scene")
        command.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of their images")
        command.add_argument("--model", type=Path, required=True, metavar="DIR", help="converted model folder with the "
                             "names of the shapes")
        command.add_argument("--out", type=Path, required=True, help="folder to write" if name == "tokenize"
                             else "JSON file to write")
        command.set_defaults(run=run)


def _tokenize(args: argparse.Namespace) -> int:
    from kyvo_ros.data.objaworld import read_objaworld
    from kyvo_ros.training.tokenising import tokenise

    bundle, samples = naming_model(args.model, "shape", _LAYOUT), read_objaworld(args.scenes)
    entries = ((sample.image_filename, image, sample.scene)
               for sample, image in zip(samples, _images(samples, args.images)))
    print("written to", *tokenise(entries, len(samples), bundle, args.out))
    return 0


def _predict(args: argparse.Namespace) -> int:
    from kyvo_ros.data.objaworld import read_objaworld

    bundle, samples = naming_model(args.model, "shape", _LAYOUT), read_objaworld(args.scenes)
    scenes = [{"key": sample.image_filename, "objects": [
        {"shape": o.attributes["shape"], "3d_coords": [*o.position_m.tolist(), o.yaw_rad]} for o in scene.objects]}
        for sample, scene in zip(samples, predicted_scenes(bundle, _images(samples, args.images)))]
    write_predictions(args.out, scenes)
    return 0


def _images(samples: list[ObjaworldSample], folder: Path) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB. Raises ImageFileError."""
    from kyvo_ros.data.images import read_rgb

    return (read_rgb(folder / sample.image_filename) for sample in samples)
