"""`kyvo evaluate looks`: which looks at an image are worth their time, to choose those of the effort `accurate`.

Every look is taken once over all images; the sets are put together from them, so that many sets cost little more than
their distinct looks. The images are ones that training held out: never those that scores are measured on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    UsageError, add_batch_size, add_held_out_images, add_model_options, add_report_files, check_counts, held_out_images,
    load_pipeline, predict, write_report,
)

if TYPE_CHECKING:
    from kyvo_ros.autoencoders.looks import Look
    from kyvo_ros.data.clevr import ClevrSample
    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import Scene

#: Sets that are compared unless others are given, as `parse_looks` reads them.
CANDIDATES = (
    "0,0 0,0m",
    "0,0 0.5,0.5",
    "0,0 0.5,0 0,0.5m",
    "0,0 -0.25,-0.25 0.25,0.25m",
    "0,0 -0.33,-0.33 0.33,0.33m",
    "-0.25,-0.25 -0.25,0.25m 0.25,-0.25m 0.25,0.25",
    "0,0 -0.25,-0.25 -0.25,0.25m 0.25,-0.25m 0.25,0.25",
    "0,0 -0.33,-0.33 -0.33,0.33m 0.33,-0.33m 0.33,0.33",
    "0,0 -0.5,0 0,-0.5m 0.5,0m 0,0.5",
    "0,0 -0.25,-0.25 -0.25,0.25,1.1m 0.25,-0.25,1.1m 0.25,0.25",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate looks`."""
    parser.description = (
        "Recognise the last images of a training folder by several sets of looks: the Jaccard index of what each set "
        "agrees on, and its time against that of a single plain look. A look is written right,down in cells of the "
        "token grid, with the factor of a longer lens as a third number, and an m behind it where it is in a mirror.")
    add_held_out_images(parser)
    parser.add_argument("--set", dest="sets", action="append", metavar="LOOKS", help="a set to compare, such as "
                        "'0,0 0.25,0.25m'; may be given several times (default: a list, see commands/looks.py)")
    add_report_files(parser)
    add_batch_size(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate looks`; returns the exit code. Raises UsageError and what loading raises."""
    from kyvo_ros.autoencoders.looks import EFFORTS, Look

    check_counts(args, "last", "batch_size")
    sets = {name: parse_looks(name) for name in args.sets or CANDIDATES}
    sets = {**{f"effort {name}": looks for name, looks in EFFORTS.items()}, **sets}
    pipeline = load_pipeline(args)
    samples = held_out_images(args, pipeline.schema)
    if 2 * pipeline.canonical.cx != pipeline.canonical.width:
        sets = {name: looks for name, looks in sets.items() if not any(look.mirror for look in looks)}
    distinct = dict.fromkeys([Look(), *(look for looks in sets.values() for look in looks)])
    seen = {look: predict(pipeline, samples, args.batch_size, (look,)) for look in distinct}
    rows = [_row(name, looks, seen, samples, pipeline) for name, looks in sets.items()]
    table = _table(rows)
    print(f"{pipeline.name} on the last {len(samples)} images of {args.data}\n\n{table}")
    write_report(args, {"sets": rows, "model": pipeline.name, "data": str(args.data)}, table)
    return 0


def parse_looks(text: str) -> tuple[Look, ...]:
    """The looks that a text such as `0,0 0.25,-0.25m 0,0,1.1` says. Raises UsageError."""
    from kyvo_ros.autoencoders.looks import Look

    looks = []
    try:
        for word in text.split():
            right, down, *zoom = map(float, word.removesuffix("m").split(","))
            looks.append(Look(right, down, word.endswith("m"), *zoom))
    except (TypeError, ValueError) as error:
        raise UsageError(f"expected looks such as '0,0 0.25,-0.25m 0,0,1.1', got {text!r}: {error}") from error
    if not looks:
        raise UsageError("expected looks such as '0,0 0.25,-0.25m 0,0,1.1', got none")
    return tuple(looks)


def _row(name: str, looks: Sequence[Look], seen: dict[Look, tuple[list[Scene], float]], samples: list[ClevrSample],
         pipeline: KyvoPipeline) -> dict:
    """What a set agrees on, scored, and the seconds of its looks against those of the plain one."""
    from kyvo_ros.autoencoders.looks import Look
    from kyvo_ros.evaluation import evaluate_recognition, in_units

    agreed = [pipeline.consensus(scenes, pipeline.sights(sample.view, looks))
              for sample, *scenes in zip(samples, *(seen[look][0] for look in looks))]
    pairs = in_units(((scene, sample.scene) for scene, sample in zip(agreed, samples)), pipeline.schema.metres_per_unit)
    report = evaluate_recognition(pairs)
    return {"set": name, "looks": len(looks), "time": round(sum(seen[look][1] for look in looks) / seen[Look()][1], 2),
            "jaccard": report.to_dict()["jaccard"]}


def _table(rows: Sequence[dict]) -> str:
    """As Markdown."""
    taus = list(rows[0]["jaccard"])
    lines = ["| set of looks | looks | time | " + " | ".join(f"Jaccard at {tau}" for tau in taus) + " |",
             "|---|---|---|" + "---|" * len(taus)]
    lines += [f"| {row['set']} | {row['looks']} | {row['time']:.2f} | "
              + " | ".join(f"{row['jaccard'][tau]:.3f}" for tau in taus) + " |" for row in rows]
    return "\n".join(lines)
