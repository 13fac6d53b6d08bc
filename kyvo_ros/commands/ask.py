"""`kyvo ask`: questions about the scene that an image shows, or about one that is given."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import UsageError, add_effort, add_model_options, load_pipeline, write_text
from kyvo_ros.commands.given import GivenScene, given_scene
from kyvo_ros.commands.recognize import add_camera_options, scene_table

if TYPE_CHECKING:
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.questions import Answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo ask`."""
    parser.description = (
        "Answer questions in English about the scene of an image (a CLEVR image of any resolution), or of a JSON file "
        "that `kyvo recognize --json` wrote. With each answer comes the program that the model understood. A model "
        "that writes no programs but answers directly says a word; it needs the image.")
    parser.add_argument("source", type=Path, metavar="IMAGE|SCENES.json")
    parser.add_argument("questions", nargs="+", metavar="QUESTION")
    parser.add_argument("--scene", type=Path, metavar="FILE", help="JSON file with the scene of the image, which is "
                        "then not recognised, such as for a model that only answers")
    parser.add_argument("--trace", action="store_true", help="print what every step of the program gave")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the answers as JSON")
    add_model_options(parser)
    add_effort(parser)
    add_camera_options(parser, of="an image; a JSON file knows its own")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo ask`; returns the exit code. Raises UsageError, SentenceError and what loading raises."""
    pipeline = load_pipeline(args)
    given = _given(args, pipeline)
    camera = given.plane.plane_T_optical().translation
    records = []
    if args.trace:
        print(f"{args.source}: {len(given.scene)} objects\n{scene_table(given.scene, numbered=True)}\n")
    for question in args.questions:
        answer = pipeline.answer(question, given.scene, camera, given.unit_m, given.image, given.view)
        print(f"{question}\n  {answer.text}{'' if answer.refusal else f'  ({answer.confidence:.2f})'}\n"
              f"    {f'understood as {answer.program}' if answer.program else 'said directly, without a program'}")
        if args.trace:
            print("".join(f"    {line}\n" for line in answer.trace), end="")
        records.append({"question": question, **answer_to_dict(answer)})
    if args.json:
        write_text(args.json, json.dumps({"model": pipeline.name, "answers": records}, indent=1) + "\n")
    return 0


def _given(args: argparse.Namespace, pipeline: KyvoPipeline) -> GivenScene:
    """What is asked about. Raises UsageError, and UntrainedTaskError, NoImageError before anything is recognised."""
    is_image = args.source.suffix != ".json"
    if args.scene and not is_image:
        raise UsageError(f"--scene is the scene of an image, and {args.source} is none; give one of the two files")
    pipeline.check_asked(image=is_image, scene=not is_image or args.scene is not None)
    return given_scene(args, pipeline, args.scene)


def answer_to_dict(answer: Answer) -> dict:
    """For JSON; the program is empty where the model has answered directly."""
    return {"answer": answer.text, "value": answer.value, "unit": answer.unit, "confidence": answer.confidence,
            "objects": list(answer.indices), "refusal": answer.refusal, "program": str(answer.program or ""),
            "trace": list(answer.trace)}
