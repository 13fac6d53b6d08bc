"""`kyvo calibrate`: fit what a model's confidences and covariances are worth, and store it in the model folder.

The images must be ones that the model was neither trained on nor is scored on: the last of the (first) folder of
renders that it was trained on, which recipes hold out.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import (
    add_batch_size, add_held_out_images, add_model_options, check_counts, held_out_images, load_pipeline, predict,
)

if TYPE_CHECKING:
    from kyvo_ros.scene import Calibration, Scene


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo calibrate`."""
    parser.description = (
        "Fit temperatures of the confidences and factors of the position's variance to the last images of a training "
        "folder, and write them into the model folder's config.json, in place of those that are there.")
    add_held_out_images(parser)
    add_batch_size(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo calibrate`; returns the exit code. Raises UsageError, CalibrationError and what loading raises."""
    from kyvo_ros.evaluation import in_units
    from kyvo_ros.evaluation.calibration import fit_calibration
    from kyvo_ros.model.folder import save_calibration
    from kyvo_ros.pipeline import shipped_model
    from kyvo_ros.scene import Calibration

    check_counts(args, "last", "batch_size")
    pipeline = load_pipeline(args)
    pipeline.calibration = Calibration()
    samples = held_out_images(args, pipeline.schema)
    predictions, _ = predict(pipeline, samples, args.batch_size)
    pairs = in_units(((p, s.scene) for p, s in zip(predictions, samples)), pipeline.schema.metres_per_unit)
    calibration = fit_calibration(pairs)
    print(f"{pipeline.name} on the last {len(samples)} images of {args.data}\n\n{_comparison(pairs)}\n")
    print(_settings(calibration))
    folder = shipped_model() if args.model is None else args.model
    save_calibration(folder, calibration)
    print(f"\nwritten to {folder}")
    return 0


def _comparison(pairs: list[tuple[Scene, Scene]]) -> str:
    """The measures of confidence before and after."""
    from kyvo_ros.evaluation import evaluate_recognition
    from kyvo_ros.evaluation.calibration import cross_calibrated

    before, after = (evaluate_recognition(p).confidence_rows() for p in (pairs, cross_calibrated(pairs)))
    width = max(len(name) for name, _ in before)
    lines = [f"{name:<{width}}  {old:>17}  {new:>17}" for (name, old), (_, new) in zip(before, after)]
    return "\n".join([f"{'':<{width}}  {'before':>17}  {'after':>17}", *lines, "",
                      "(after: each half of the images under the fit to the other half; what is written fits all)"])


def _settings(calibration: Calibration) -> str:
    temperatures = {**calibration.attribute_temperatures, "place": calibration.place_temperature}
    x, y = calibration.variance_factors
    return (f"temperatures: {', '.join(f'{name} {value:.2f}' for name, value in temperatures.items())} (under 1: surer "
            f"than it said)\nvariance of the position: {x:.2f} times in x, {y:.2f} times in y")
