"""`kyvo evaluate views`: what the loss in pixels is worth to a shape tokenizer; the paper's ablation in one command.

The same recipe is trained without that loss, with one fixed view and with many, from the same first weights on the same
objects for as many steps, and each is scored as by `kyvo evaluate shapes`. Source: Kyvo (arXiv 2506.08002, section
3.2).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from kyvo_ros.commands.common import check_counts, write_text
from kyvo_ros.commands.shape_scores import GROUPS, score_table
from kyvo_ros.machine import cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate views`."""
    parser.description = (
        "Train a shape tokenizer by one recipe three times, with no loss in pixels, with one view and with many, and "
        "compare what their codes keep. What was trained before goes on; with --minutes it may take several calls.")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/shapes/nano.yaml"), help="(default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("work/views"), help="folder (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="stop each part of each training after this long")
    parser.add_argument("--count", type=int, default=50, metavar="N", help="objects a group (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=cores(), help="processes that make slats (default: "
                        "%(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate views`; returns the exit code, 1 where training has not come to its end.

    Raises RecipeError, TrainingError, DeviceError.
    """
    from dataclasses import replace

    from kyvo_ros.commands.shape_scores import score
    from kyvo_ros.model.folder import load_shape_tokenizer
    from kyvo_ros.pipeline import choose_device
    from kyvo_ros.training.shape_stage import VIEWS
    from kyvo_ros.training.shapes import load_shape_recipe, train_shapes

    check_counts(args, "count", "workers")
    recipe, device = load_shape_recipe(args.recipe), choose_device(args.device)
    unfinished = []
    for views in VIEWS:
        own = replace(recipe, name=f"{recipe.name}-{views}", loss=replace(recipe.loss, views=views))
        if not train_shapes(own, args.work / views, args.work / views / "model", device, args.minutes, args.workers,
                            args.work / "slats"):
            unfinished.append(views)
    if unfinished:
        print(f"{recipe.name}: the trainings {', '.join(unfinished)} are not at their end; the same command goes on")
        return 1
    report = {group: {} for group in GROUPS}
    for views in VIEWS:
        scores, _, _ = score(load_shape_tokenizer(args.work / views / "model", device)[1], device, args.count)
        for group in GROUPS:
            report[group][views] = scores[group]["codes"]
    print(f"{recipe.name}: {args.count} objects a group, through the codes\n\n{score_table(report)}")
    if args.json:
        document = {"recipe": recipe.name, "objects_a_group": args.count, **report}
        write_text(args.json, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return 0
