"""`kyvo render`: a picture of a scene, drawn by the model."""

from __future__ import annotations

import argparse
from pathlib import Path

from kyvo_ros.commands.common import add_effort, add_model_options, add_sampling, check_counts, load_pipeline
from kyvo_ros.commands.given import given_scene
from kyvo_ros.commands.recognize import add_camera_options, plane_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo render`."""
    parser.description = (
        "Draw the scene of a JSON file that `kyvo recognize --json` or `kyvo edit --json` wrote, or that of an image, "
        "as the model imagines it through its own camera.")
    parser.add_argument("source", type=Path, metavar="SCENES.json|IMAGE")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="where to write the picture")
    add_sampling(parser)
    add_model_options(parser)
    add_effort(parser)
    add_camera_options(parser, of="an image, and where the picture is drawn from (a JSON file knows its own)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo render`; returns the exit code. Raises UsageError and what loading and drawing raise."""
    from kyvo_ros.data.images import write_rgb

    check_counts(args, "top_k")
    pipeline = load_pipeline(args)
    given = given_scene(args, pipeline)
    picture = pipeline.render(given.scene, plane_of(args, given.plane), given.unit_m, temperature=args.temperature,
                              top_k=args.top_k, seed=args.seed)
    write_rgb(args.out, picture)
    print(f"{args.out}: {picture.shape[1]}x{picture.shape[0]} pixels, {len(given.scene)} objects")
    return 0
