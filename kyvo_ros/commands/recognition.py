"""`kyvo evaluate recognition`: scores of recognised scenes, with pictures of where they are right and wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    UsageError, add_batch_size, add_data_folder, add_effort, add_model_options, add_report_files, check_counts,
    load_pipeline, predict, write_report,
)

if TYPE_CHECKING:
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.drawing import Mark
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import Scene, SceneObject
    from kyvo_ros.tokens.schema import SceneSchema

#: In contact sheets a prediction is right when it matches within this distance.
_SHEET_TAU_M = 0.25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate recognition`."""
    parser.description = (
        "Score recognised scenes against the ground truth of a CLEVR folder (scenes.json and images/, or CLEVR v1.0), "
        "in the frame on the support plane that the known camera pose gives; those of a published model, which knows "
        "no camera, also in CLEVR's world (--metric published).")
    add_data_folder(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--metric", choices=("own", "published"), default="own", help="published: also the Jaccard "
                        "index as the published Kyvo script computes it (default: %(default)s)")
    add_report_files(parser)
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write a contact sheet of predictions on the images")
    parser.add_argument("--reliability", type=Path, metavar="PNG", help="draw what confidences are worth")
    parser.add_argument("--sheet-order", choices=("spread", "worst"), default="spread", help="images spread evenly "
                        "over the data, or those with the lowest scores (default: %(default)s)")
    parser.add_argument("--sheet-images", type=int, default=12, metavar="N", help="images on it (default: %(default)s)")
    add_batch_size(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate recognition`; returns the exit code. Raises UsageError and what loading raises."""
    from kyvo_ros.data.clevr import read_clevr
    from kyvo_ros.evaluation import evaluate_recognition, in_units

    check_counts(args, "batch_size", "sheet_images", "limit")
    pipeline = load_pipeline(args)
    if args.metric == "published":
        _check_objects(pipeline)
    samples = read_clevr(args.data, args.split, pipeline.schema)[:args.limit]
    predictions, seconds = predict(pipeline, samples, args.batch_size, args.effort)
    pairs = in_units(((p, s.scene) for p, s in zip(predictions, samples)), pipeline.schema.metres_per_unit)
    report = evaluate_recognition(pairs, pipeline.schema.yaw_periods())
    milliseconds, batch_size = 1e3 * seconds / len(samples), min(args.batch_size, len(samples))
    print(f"{pipeline.name} on {args.data} ({pipeline.device}, {args.effort}, {milliseconds:.0f} ms an image in "
          f"batches of {batch_size}){_unit(pipeline)}{_turn(pipeline)}\n\n{report.table()}")
    scores = _published_scores(predictions, samples, pipeline.schema) if args.metric == "published" else {}
    document = {**report.to_dict(), **scores, "model": pipeline.name, "data": str(args.data), "effort": args.effort}
    write_report(args, document, report.markdown())
    if args.sheet:
        _write_sheet(args.sheet, samples, predictions, args.sheet_images, args.sheet_order)
    if args.reliability:
        from kyvo_ros.commands.reliability import plot_reliability
        plot_reliability(args.reliability, pairs, pipeline.name)
    return 0


def _unit(pipeline: KyvoPipeline) -> str:
    """What a metre in the report is, where it is another."""
    metres = pipeline.schema.metres_per_unit
    return "" if metres == 1.0 else f"\nlengths in model units of {metres:g} m, in all that follows"


def _turn(pipeline: KyvoPipeline) -> str:
    """What the report's distances hold besides the model's own errors, where it speaks of a world of its own."""
    from kyvo_ros.tokens.published_schemas import WORLD_FRAME

    if pipeline.schema.frame_id != WORLD_FRAME:
        return ""
    return ("\nthe model knows its world and no camera: how far an image's camera is turned against its nominal place "
            "is in every distance of the table")


def _check_objects(pipeline: KyvoPipeline) -> None:
    """Raises UsageError for a model of other objects than CLEVR's, which the published script scores as never found."""
    from kyvo_ros.tokens.schema import CLEVR_SCHEMA

    named, needed = ({word.name for word in schema.words} for schema in (pipeline.schema, CLEVR_SCHEMA))
    if not needed <= named:
        raise UsageError(f"--metric published scores {sorted(needed)}, as CLEVR has them; {pipeline.name} names "
                         f"{sorted(named)}. `kyvo evaluate published` scores files of other data sets")


def _published_scores(predictions: list[Scene], samples: list[ClevrSample],
                      schema: SceneSchema) -> dict[str, dict[str, float]]:
    """Print the published Jaccard index at every distance of the report, and return it for its JSON."""
    from kyvo_ros.evaluation.published import clevr_objects, published_jaccard
    from kyvo_ros.evaluation.report import TAUS_M

    pairs = [tuple(map(clevr_objects, _comparable(p, s, schema))) for p, s in zip(predictions, samples)]
    scores = {f"{tau:g}": published_jaccard("CLEVR", pairs, tau).mean for tau in TAUS_M}
    print("\n" + "\n".join(f"published Jaccard index at {tau} m: {score:.4f}" for tau, score in scores.items()))
    return {"published_jaccard": scores}


def _comparable(predicted: Scene, sample: ClevrSample, schema: SceneSchema) -> tuple[Scene, Scene]:
    """A prediction and its truth in one frame: the world, where the model speaks of that, else the support plane's.

    The pipeline takes the world of a published model to the plane by a nominal turn, the truth comes there by the
    camera's own; the difference between the two is none of the model's faults.
    """
    from kyvo_ros.model.published_sight import from_plane_frame
    from kyvo_ros.tokens.published_schemas import WORLD_FRAME

    if schema.frame_id != WORLD_FRAME:
        return predicted, sample.scene
    world = sample.scene.transformed(sample.view.world_T_plane, WORLD_FRAME)
    return from_plane_frame(predicted, WORLD_FRAME, sample.view.plane), world


def _write_sheet(path: Path, samples: list[ClevrSample], predictions: list[Scene], count: int, order: str) -> None:
    """Predictions on some of the images: right ones green, wrong ones red, missed objects thin."""
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.drawing import contact_sheet, draw_scene
    from kyvo_ros.evaluation import jaccard_index
    from kyvo_ros.scene import Scene

    scores = [jaccard_index(p, s.scene, _SHEET_TAU_M) for p, s in zip(predictions, samples)]
    count = min(count, len(samples))
    shown = [i * len(samples) // count for i in range(count)]
    if order == "worst":
        shown = sorted(range(len(samples)), key=lambda i: scores[i])[:count]
    panels, captions = [], []
    for index in shown:
        sample, predicted = samples[index], predictions[index]
        missed, marks = _verdict(predicted, sample.scene)
        panels.append(draw_scene(sample.image(), Scene((*predicted.objects, *missed)), sample.view, marks=marks))
        captions.append(f"{sample.image_path.name}  Jaccard {scores[index]:.2f} at {_SHEET_TAU_M} m")
    write_rgb(path, contact_sheet(panels, captions))


def _verdict(predicted: Scene, truth: Scene) -> tuple[list[SceneObject], list[Mark]]:
    """The true objects that no prediction matches, and how to draw the predictions followed by these."""
    from kyvo_ros.drawing import MISSED_RGB, RIGHT_RGB, WRONG_RGB, Mark, default_mark
    from kyvo_ros.evaluation import match_scene

    pairs = match_scene(predicted, truth, _SHEET_TAU_M)
    right, found = ({pair[side] for pair in pairs} for side in (0, 1))
    missed = [o for j, o in enumerate(truth.objects) if j not in found]
    marks = [Mark(RIGHT_RGB if i in right else WRONG_RGB, default_mark(o).label)
             for i, o in enumerate(predicted.objects)]
    return missed, marks + [Mark(MISSED_RGB, f"missed: {o.label}", thin=True) for o in missed]
