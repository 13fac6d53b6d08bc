"""`kyvo edit`: a scene changed by an instruction in English."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from kyvo_ros.commands.common import add_effort, add_model_options, check_writable, load_pipeline, write_text
from kyvo_ros.commands.given import given_scene
from kyvo_ros.commands.recognize import add_camera_options, scene_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo edit`."""
    parser.description = (
        "Change the scene of an image (a CLEVR image of any resolution), or of a JSON file that `kyvo recognize --json` "
        "or this command wrote, by instructions in English, one after the other.")
    parser.add_argument("source", type=Path, metavar="IMAGE|SCENES.json")
    parser.add_argument("instructions", nargs="+", metavar="INSTRUCTION")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the edited scene as JSON")
    parser.add_argument("--draw", type=Path, metavar="PNG", help="write a picture of the edited scene, as the model "
                        "imagines it through its own camera")
    add_model_options(parser)
    add_effort(parser)
    add_camera_options(parser, of="an image; a JSON file knows its own")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo edit`; returns the exit code. Raises UsageError, SentenceError, PremiseError and what loading and drawing
    do.
    """
    check_writable(args, "json")
    check_writable(args, "draw")
    pipeline = load_pipeline(args)
    given = given_scene(args, pipeline)
    scene = given.scene
    print(f"{args.source}: {len(scene)} objects\n{scene_table(scene)}\n")
    for instruction in args.instructions:
        program = pipeline.edit_program(instruction)
        print(f"{instruction}\n  understood as {program}")
        scene = pipeline.edited(program, scene, given.unit_m)
        print(f"{len(scene)} objects\n{scene_table(scene)}\n")
    if args.draw:
        from kyvo_ros.data.images import write_rgb
        write_rgb(args.draw, pipeline.render(scene, given.plane, given.unit_m))
        print(f"drawn in {args.draw}")
    if args.json:
        record = {"model": pipeline.name, "scenes": [
            {"instructions": args.instructions, **replace(given, scene=scene).to_dict()}]}
        write_text(args.json, json.dumps(record, indent=1) + "\n")
    return 0
