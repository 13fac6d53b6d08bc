"""`kyvo evaluate cameras`: what other cameras cost a model; `camera_trial` has what is tried and how it counts."""

from __future__ import annotations

import argparse
from pathlib import Path

from kyvo_ros.commands.common import (
    add_data_folder, add_effort, add_model_options, add_report_files, check_counts, load_pipeline, write_report,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate cameras`."""
    parser.description = (
        "Score a CLEVR folder as other cameras would have seen it (resolution, focal length, aspect, roll, distortion; "
        "paired with the originals), without the camera's pose (paired), and renders from cameras elsewhere. Only "
        "objects count whose centre is in the model's canonical view and that the raw images show whole.")
    add_data_folder(parser)
    parser.add_argument("--other", type=Path, metavar="DIR", help="renders from other cameras, each with its own")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images of each folder")
    add_report_files(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate cameras`; returns the exit code. Raises UsageError and what loading raises."""
    from kyvo_ros.commands.camera_trial import camera_trial
    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.evaluation.cameras import camera_table

    check_counts(args, "limit")
    pipeline = load_pipeline(args)
    samples, others = (read_clevr(folder, args.split, pipeline.schema)[:args.limit] if folder else []
                       for folder in (args.data, args.other))
    scores = camera_trial(pipeline, samples, others, args.effort)
    print(f"{pipeline.name} on {args.data} ({args.effort})\n\n{camera_table(scores)}")
    document = {"cameras": [s.to_dict() for s in scores], "model": pipeline.name, "data": str(args.data),
                "effort": args.effort, "other": args.other and str(args.other)}
    write_report(args, document, camera_table(scores))
    return 0
