"""`kyvo cookbook`: the paper's ablations at a small size, each row a short training, with a table and plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from kyvo_ros.commands.common import UsageError, add_model_options

DEFAULT_RECIPES = Path("recipes/cookbook")
#: Of a row; with images and scores the whole cookbook then takes less than three hours on two cores.
DEFAULT_MINUTES = 6.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo cookbook`."""
    parser.description = (
        "Train the rows of the cookbook one after the other and write a report of them. A row that has run is passed "
        "over, one that was interrupted goes on. Images are the ray caster's, their codes the model folder's.")
    parser.add_argument("--recipes", type=Path, default=DEFAULT_RECIPES, metavar="DIR",
                        help="common recipe and experiments (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path("work/cookbook"), metavar="DIR",
                        help="folder of images and runs (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: WORK/report)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="experiments or rows, such as steps or "
                        "steps/0.05")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, metavar="M", help="of training a row "
                        "(default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="run nothing, write the report of what has run")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes of the ray caster "
                        "(default: %(default)s)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo cookbook`; returns the exit code. Raises UsageError, and RecipeError and what loading raises."""
    import logging

    import torch

    from kyvo_ros.model.folder import load_model
    from kyvo_ros.pipeline import choose_device, shipped_model
    from kyvo_ros.training.cookbook.kitchen import Kitchen
    from kyvo_ros.training.cookbook.report import write_report
    from kyvo_ros.training.cookbook.rows import chosen_rows, load_experiments
    from kyvo_ros.training.trainer import TrainingError

    if args.minutes <= 0 or args.workers < 1 or (args.threads or 1) < 1:
        raise UsageError("--minutes, --workers and --threads must be positive")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    experiments = load_experiments(args.recipes)
    rows = chosen_rows(experiments, args.only)
    device = choose_device(args.device)
    kitchen = Kitchen(load_model(args.model or shipped_model(), device=device), args.work, device, args.workers)
    out, left_out = args.out or args.work / "report", []
    if not args.report:
        kitchen.prepare(rows[0])
        for number, row in enumerate(rows, 1):
            print(f"row {number} of {len(rows)}: {row.path}", flush=True)
            try:
                kitchen.run(row, args.minutes)
            except TrainingError as error:  # one row, such as LoRA without its library, does not stop the others
                left_out.append(f"{row.path}: {error}")
            write_report(out, experiments, kitchen)
    print("\n".join([*(f"left out {line}" for line in left_out), f"wrote {write_report(out, experiments, kitchen)}"]))
    return 1 if left_out else 0
