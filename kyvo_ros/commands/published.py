"""`kyvo evaluate published`: prediction files of the published Kyvo code, scored as its scripts score them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

_Pair = tuple["list[dict[str, Any]] | None", "list[dict[str, Any]]"]


class PredictionFileError(ValueError):
    """A file of predictions or true scenes does not hold what it should, or the two do not belong together."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate published`."""
    parser.description = (
        "The published Jaccard index of a predicted_scenes file, oddities included (two empty scenes count -1). "
        "`kyvo evaluate recognition` scores a model of this package.")
    parser.add_argument("--dataset", choices=tuple(_PAIRS), required=True)
    parser.add_argument("--predictions", type=Path, required=True, metavar="JSON", help="{scenes: [{key, objects}]}")
    parser.add_argument("--truth", type=Path, required=True, metavar="PATH", help="CLEVR, ObjaWorld: folder of one "
                        "JSON a scene; Objectron: Omni3D's JSON")
    parser.add_argument("--tau", type=float, default=0.05, help="distance of a match (default: %(default)s)")
    parser.add_argument("--dimensions-tau", type=float, default=0.05, help="mean error of the dimensions, Objectron "
                        "(default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate published`; returns the exit code. Raises PredictionFileError, PublishedMetricError."""
    from kyvo_ros.evaluation.published import published_jaccard

    predictions = _entry(_read(args.predictions), "scenes", args.predictions)
    pairs = _PAIRS[args.dataset](predictions, args.truth)
    result = published_jaccard(args.dataset, pairs, args.tau, args.dimensions_tau)
    counts = [sum(getattr(scene, name) for scene in result.scenes)
              for name in ("true_positives", "false_positives", "false_negatives")]
    print(f"published Jaccard index at {args.tau:g}: {result.mean:.4f}\n{len(result.scenes)} scenes, {result.left_out} "
          f"left out; {counts[0]} objects found, {counts[1]} wrong, {counts[2]} missed")
    return 0


def folder_pairs(predictions: list[dict[str, Any]], folder: Path) -> list[_Pair]:
    """Predicted and true objects; the true scenes are the folder's JSON files by name, as many as were predicted."""
    files = sorted(folder.glob("*.json"))
    if len(files) < len(predictions):
        raise PredictionFileError(f"{folder} holds {len(files)} scenes, {len(predictions)} were predicted")
    pairs = []
    for predicted, path in zip(predictions, files):
        truth = _read(path)
        name, key = _stem(_entry(truth, "image_filename", path)), _stem(_entry(predicted, "key", "a prediction"))
        if name != key:
            raise PredictionFileError(f"{path} is the scene of {name}, the prediction in its place that of {key}; "
                                      "predictions must be in the order of the files' names")
        pairs.append((_entry(predicted, "objects", key), _entry(truth, "objects", path)))
    return pairs


def objectron_pairs(predictions: list[dict[str, Any]], path: Path) -> list[_Pair]:
    """Predicted and true objects of every image in Omni3D's JSON; None where an image has no prediction."""
    truth = _read(path)
    images, annotations = (_entry(truth, name, path) for name in ("images", "annotations"))
    ids = {_entry(image, "file_path", path): _entry(image, "id", path) for image in images}
    objects: dict[int, list[dict[str, Any]]] = {number: [] for number in ids.values()}
    for entry in annotations:
        number = _entry(entry, "image_id", path)
        if number not in objects:
            raise PredictionFileError(f"{path} has an annotation of image {number!r}, which it does not list")
        objects[number].append({"category": _entry(entry, "category_name", path),
                                **{name: _entry(entry, name, path) for name in ("center_cam", "dimensions")}})
    predicted: dict[int, list[dict[str, Any]]] = {}
    for scene in predictions:
        key = _entry(scene, "key", "a prediction")
        if key not in ids:
            raise PredictionFileError(f"{path} has no image {key!r}, which was predicted")
        predicted.setdefault(ids[key], []).extend(_entry(scene, "objects", key))
    return [(predicted.get(number), true) for number, true in objects.items()]


#: How predictions and the path of their truth make pairs, by the data sets of `evaluation.published`.
_PAIRS = {"CLEVR": folder_pairs, "ObjaWorld": folder_pairs, "Objectron": objectron_pairs}


def _stem(name: str) -> str:
    return name.split(".png")[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PredictionFileError(f"{path} is broken JSON ({error})") from error


def _entry(record: dict[str, Any], name: str, where: object) -> Any:
    if not isinstance(record, dict) or name not in record:
        found = sorted(record) if isinstance(record, dict) else type(record).__name__
        raise PredictionFileError(f"expected {name!r} in {where}, got {found}")
    return record[name]
