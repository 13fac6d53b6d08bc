"""`kyvo render`: a picture of a scene, drawn by the model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from kyvo_ros.commands.common import (
    add_effort, add_model_options, add_sampling, check_counts, load_pipeline, scene_of,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo render`."""
    parser.description = (
        "Draw the scene of a JSON file that `kyvo recognize --json` or `kyvo edit --json` wrote, or that of an image, "
        "as the model imagines it through its own camera.")
    parser.add_argument("source", type=Path, metavar="SCENES.json|IMAGE")
    parser.add_argument("--out", type=Path, required=True, metavar="PNG", help="where to write the picture")
    parser.add_argument("--elevation-deg", type=float, help="angle of the optical axis under the horizon (default: the "
                        "model's nominal one)")
    parser.add_argument("--distance-m", type=float, help="from the camera to the plane along the optical axis "
                        "(default: the model's nominal one)")
    add_sampling(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo render`; returns the exit code. Raises UsageError and what loading and drawing raise."""
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.scene import PlaneCamera

    check_counts(args, "top_k")
    pipeline = load_pipeline(args)
    scene = scene_of(args.source, pipeline, args.effort)
    nominal = pipeline.nominal_plane()
    camera = PlaneCamera(nominal.distance_m if args.distance_m is None else args.distance_m,
                         nominal.elevation_rad if args.elevation_deg is None else math.radians(args.elevation_deg))
    picture = pipeline.render(scene, camera, temperature=args.temperature, top_k=args.top_k, seed=args.seed)
    write_rgb(args.out, picture)
    print(f"{args.out}: {picture.shape[1]}x{picture.shape[0]} pixels, {len(scene)} objects")
    return 0
