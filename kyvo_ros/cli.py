"""The command line: `kyvo recognize`, `ask`, `edit`, `render`, `bag`, `doctor`, `evaluate ...`, `train` and others.

It only finds the command's module in `kyvo_ros.commands`, which parses, prints and writes files; the work is in the
rooms, which are imported when a command needs them, so that `kyvo --help` needs neither torch nor ROS. Errors take one
line and exit with code 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import kyvo_ros
from kyvo_ros.commands import (
    ask, assets, background, bag, calibrate, cameras, checksums, convert, cookbook, doctor, edit, edit_scores, looks,
    objaworld, object_scores, omni3d, published, qa, recognition, recognize, reconstruct, render, render_scores,
    shape_scores, shapes, view_ablation)


#: What `make setup` installs and a system's own Python may lack.
_OF_THE_ENVIRONMENT = ("cv2", "matplotlib", "numba", "numpy", "rosbags", "safetensors", "scipy", "skimage", "tokenizers",
                       "torch", "tqdm", "transformers", "trimesh", "yaml")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    args = _parser(with_training=arguments[:1] == ["train"]).parse_args(arguments)
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return 130
    except ModuleNotFoundError as error:
        if error.name not in _OF_THE_ENVIRONMENT:
            raise
        print(f"kyvo: error: {error} in {sys.executable}; run `make setup` in a checkout and then .venv/bin/kyvo, or "
              "install it", file=sys.stderr)
        return 2
    except Exception as error:
        if not _is_for_the_user(error):
            raise
        print(f"kyvo: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _is_for_the_user(error: Exception) -> bool:
    """Whether the message says all: our own named exceptions and files that cannot be used. The rest are bugs."""
    return isinstance(error, (ValueError, OSError)) or type(error).__module__.startswith("kyvo_ros.")


def _parser(with_training: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kyvo", description="Images to structured 3D scenes.")
    parser.add_argument("--version", action="version", version=f"kyvo_ros {kyvo_ros.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    recognize.add_arguments(commands.add_parser("recognize", help="print the 3D scenes that images show"))
    ask.add_arguments(commands.add_parser("ask", help="answer questions about the scene of an image"))
    edit.add_arguments(commands.add_parser("edit", help="change the scene of an image by instructions"))
    render.add_arguments(commands.add_parser("render", help="draw a scene"))
    reconstruct.add_arguments(commands.add_parser("reconstruct", help="the scene of an image with its shapes, as GLB"))
    evaluate = commands.add_parser("evaluate", help="score a model against ground truth")
    tasks = evaluate.add_subparsers(required=True, metavar="TASK")
    recognition.add_arguments(tasks.add_parser("recognition", help="image to scene, on a CLEVR folder"))
    qa.add_arguments(tasks.add_parser("qa", help="answers to questions about the images of a CLEVR folder"))
    edit_scores.add_arguments(tasks.add_parser("edit", help="scenes edited by instructions"))
    render_scores.add_arguments(tasks.add_parser("render", help="scenes drawn: what is found in the pictures"))
    background.add_arguments(tasks.add_parser("background", help="images that show no scene: what is found in them"))
    cameras.add_arguments(tasks.add_parser("cameras", help="what other cameras cost, on CLEVR folders"))
    looks.add_arguments(tasks.add_parser("looks", help="sets of looks: what each is worth, to choose an effort"))
    shape_scores.add_arguments(tasks.add_parser("shapes", help="what a shape tokenizer keeps of unseen objects"))
    object_scores.add_arguments(tasks.add_parser("objects", help="scenes of whole objects: layout, poses, surfaces"))
    view_ablation.add_arguments(tasks.add_parser("views", help="shape tokenizers trained with no view, one, many"))
    published.add_arguments(tasks.add_parser("published", help="prediction files of the published code"))
    bag.add_arguments(commands.add_parser("bag", help="scenes of recordings, folders of images and videos, as a bag"))
    doctor.add_arguments(commands.add_parser("doctor", help="what is wrong with a running system or a recording"))
    convert.add_arguments(commands.add_parser("convert", help="checkpoints of the published code, in and out"))
    checksums.add_arguments(commands.add_parser("checksums", help="write down what a model folder's files are"))
    omni3d.add_arguments(commands.add_parser("omni3d", help="data in Omni3D's format: write, tokenize, predict"))
    objaworld.add_arguments(commands.add_parser("objaworld", help="data in ObjaWorld's format: tokenize, predict"))
    assets.add_arguments(commands.add_parser("assets", help="objects of the procedural library"))
    shapes.add_tokenize_arguments(commands.add_parser("tokenize", help="a mesh to shape codes"))
    shapes.add_detokenize_arguments(commands.add_parser("detokenize", help="shape codes to a mesh"))
    calibrate.add_arguments(commands.add_parser("calibrate", help="fit what a model's confidences are worth"))
    cookbook.add_arguments(commands.add_parser("cookbook", help="the paper's ablations at a small size"))
    train = commands.add_parser("train", help="train the image tokenizer and the decoder")
    if with_training:
        from kyvo_ros.training import command
        command.add_arguments(train)
        train.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
