"""`kyvo evaluate edit`: scenes edited by instructions in held-out phrasings, against what the instructions mean."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    add_batch_size, add_data_folder, add_effort, add_model_options, add_report_files, check_counts, load_pipeline,
    predict, write_report,
)

if TYPE_CHECKING:
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.questions import Edit
    from kyvo_ros.scene import Scene

#: Of the instructions.
_SEED = 20252
#: Distances at which edited scenes are compared; the paper uses the first.
_TAUS_M = (0.05, 0.25)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate edit`."""
    parser.description = (
        "Instruct changes of the scenes of a CLEVR folder, in phrasings that are never trained on, and compare the "
        "edited scenes with those that the instructions mean: Jaccard index by kind of edit. What cannot be done "
        "counts as a scene left as it was.")
    add_data_folder(parser)
    parser.add_argument("--scene", choices=("true", "predicted"), default="true",
                        help="what is edited (default: %(default)s)")
    parser.add_argument("--count", type=int, default=400, metavar="N", help="instructions (default: %(default)s)")
    add_report_files(parser)
    add_batch_size(parser)
    add_model_options(parser)
    add_effort(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate edit`; returns the exit code. Raises UsageError and what loading raises."""
    from kyvo_ros.data.clevr import read_clevr

    check_counts(args, "count", "batch_size")
    pipeline = load_pipeline(args)
    samples = read_clevr(args.data, args.split, pipeline.schema)
    edits = _instructed(pipeline, samples, args.count)
    sources = ([s.scene for s in samples] if args.scene == "true"
               else predict(pipeline, samples, args.batch_size, args.effort)[0])
    report = edit_report(pipeline, edits, sources)
    print(f"{pipeline.name} on {args.data} ({args.scene} scenes)\n\n{edit_table(report)}")
    document = {"edits": report, "model": pipeline.name, "data": str(args.data), "scene": args.scene,
                "effort": args.effort}
    write_report(args, document, edit_table(report))
    return 0


def _instructed(pipeline: KyvoPipeline, samples: list[ClevrSample], count: int) -> list[tuple[int, Edit]]:
    """(index of the scene, edit) for so many instructions, spread over the scenes."""
    from kyvo_ros.questions import EditGenerator, EditRules, EditSettings

    generator = EditGenerator(_SEED, EditRules(pipeline.schema.extents_m), EditSettings(held_out=True, noise=0.0))
    return [(n % len(samples), *generator.edits(samples[n % len(samples)].scene, 1)) for n in range(count)]


def edit_report(pipeline: KyvoPipeline, edits: list[tuple[int, Edit]], sources: list[Scene]) -> dict[str, dict]:
    """By kind of edit, and over all: how many, the share refused, and the mean Jaccard index at each distance."""
    from tqdm import tqdm

    from kyvo_ros.evaluation import jaccard_index

    rows: dict[str, list[tuple]] = {}
    for index, edit in tqdm(edits, desc="editing", disable=None):
        edited, refused = _edited(pipeline, edit.text, sources[index])
        row = (refused, *(jaccard_index(edited, edit.target, tau) for tau in _TAUS_M))
        rows.setdefault(edit.kind, []).append(row)
    rows["all"] = [row for kind in rows.values() for row in kind]
    return {kind: {"edits": len(found), "refused": sum(r[0] for r in found) / len(found),
                   "jaccard": {f"{tau:g}": sum(r[1 + i] for r in found) / len(found) for i, tau in enumerate(_TAUS_M)}}
            for kind, found in sorted(rows.items(), key=lambda item: (item[0] == "all", item[0]))}


def _edited(pipeline: KyvoPipeline, instruction: str, scene: Scene) -> tuple[Scene, bool]:
    from kyvo_ros.questions import PremiseError

    try:
        return pipeline.edit(instruction, scene), False
    except PremiseError:
        return scene, True


def edit_table(report: dict[str, dict]) -> str:
    """As a Markdown table."""
    head = ["edit", "number", *(f"Jaccard at {tau:g} m" for tau in _TAUS_M), "refused"]
    return "\n".join(_lines(head, report))


def _lines(head: list[str], report: dict[str, dict]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for kind, scores in report.items():
        numbers = " | ".join(f"{value:.3f}" for value in scores["jaccard"].values())
        yield f"| {kind} | {scores['edits']} | {numbers} | {scores['refused']:.3f} |"
