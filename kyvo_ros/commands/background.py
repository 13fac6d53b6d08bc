"""`kyvo evaluate background`: what a model finds in images that show no scene of its kind.

Drawn images (`kyvo_ros.data.backgrounds`) and photographs: one that matplotlib brings along, where it is installed,
and any that are given. Every object in them is wrong; a good model finds none, or none that it is sure of.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kyvo_ros.commands.common import add_batch_size, add_model_options, check_counts, load_pipeline, write_text

if TYPE_CHECKING:
    import numpy as np

    from kyvo_ros.pipeline import KyvoPipeline
    from kyvo_ros.scene import Scene

#: The score over which an object counts as found where one number is asked for.
_SURE = 0.5
#: Drawn images have the size of CLEVR's.
_WIDTH, _HEIGHT = 320, 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kyvo evaluate background`."""
    parser.description = (
        "Count the objects that a model finds in images without any: drawn noise, patterns, text, clutter, desks, and "
        "photographs. Every one is wrong.")
    parser.add_argument("--count", type=int, default=210, metavar="N", help="drawn images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn images (default: %(default)s)")
    parser.add_argument("--photographs", type=Path, nargs="+", default=[], metavar="IMAGE",
                        help="image files without such objects, beside the one that matplotlib brings along")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the counts as JSON")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="write the images with the surest mistakes")
    add_batch_size(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run `kyvo evaluate background`; returns the exit code. Raises UsageError and what loading raises."""
    import numpy as np

    from kyvo_ros.data.backgrounds import background_images
    from kyvo_ros.data.images import read_rgb

    check_counts(args, "count", "batch_size")
    groups = {
        "drawn": list(background_images(np.random.default_rng(args.seed), args.count, _WIDTH, _HEIGHT)),
        "photographs": [_fitted(read_rgb(path)) for path in [*_bundled_photographs(), *args.photographs]],
    }
    pipeline = load_pipeline(args)
    scenes = {name: _recognize(pipeline, images, args.batch_size) for name, images in groups.items() if images}
    report = {name: background_report(found) for name, found in scenes.items()}
    print(f"{pipeline.name} on images that show no scene\n\n{_table(report)}")
    if args.json:
        write_text(args.json, json.dumps({"model": pipeline.name, **report}, indent=1, allow_nan=False) + "\n")
    if args.sheet:
        _write_sheet(args.sheet, pipeline, [i for name in scenes for i in groups[name]],
                     [s for found in scenes.values() for s in found])
    return 0


def background_report(scenes: Sequence[Scene]) -> dict:
    """Objects an image with at least each of the report's thresholds, and the share of images without a sure one."""
    from kyvo_ros.evaluation.report import THRESHOLDS

    best = [_best(scene) for scene in scenes]
    scores = [o.confidence for scene in scenes for o in scene.objects]
    return {
        "images": len(scenes), "objects_an_image": len(scores) / len(scenes),
        "objects_an_image_by_threshold": {f"{t:g}": sum(s >= t for s in scores) / len(scenes) for t in THRESHOLDS},
        "images_without_a_sure_object": sum(score < _SURE for score in best) / len(scenes),
        "highest_score": max(best),
    }


def _best(scene: Scene) -> float:
    return max((o.confidence for o in scene.objects), default=0.0)


def _table(report: dict[str, dict]) -> str:
    """A column a group of images."""
    rows = [("images", *(str(r["images"]) for r in report.values())),
            ("objects an image", *(f"{r['objects_an_image']:.2f}" for r in report.values()))]
    for threshold in next(iter(report.values()))["objects_an_image_by_threshold"]:
        counts = (r["objects_an_image_by_threshold"][threshold] for r in report.values())
        rows.append((f"- with a score from {threshold}", *(f"{count:.2f}" for count in counts)))
    rows.append((f"images without an object over {_SURE:g}",
                 *(f"{r['images_without_a_sure_object']:.3f}" for r in report.values())))
    rows.append(("highest score", *(f"{r['highest_score']:.3f}" for r in report.values())))
    table = [("", *report), *rows]
    return "\n".join(f"{name:<36}" + "".join(f"{cell:>13}" for cell in cells) for name, *cells in table)


def _bundled_photographs() -> list[Path]:
    """The photograph that matplotlib installs as an example; none where it is not there."""
    from importlib.util import find_spec

    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    path = Path(found.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    return [path] if path.is_file() else []


def _recognize(pipeline: KyvoPipeline, images: list[np.ndarray], batch_size: int) -> list[Scene]:
    from tqdm import tqdm

    scenes = []
    for start in tqdm(range(0, len(images), batch_size), desc="recognising", unit="batch", disable=None):
        scenes += pipeline.recognize_batch(images[start:start + batch_size])
    return scenes


def _fitted(image: np.ndarray) -> np.ndarray:
    """The middle of an image in the drawn images' size."""
    import cv2

    height, width = image.shape[:2]
    wide, tall = min(width, height * _WIDTH // _HEIGHT), min(height, width * _HEIGHT // _WIDTH)
    left, top = (width - wide) // 2, (height - tall) // 2
    return cv2.resize(image[top:top + tall, left:left + wide], (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)


def _write_sheet(path: Path, pipeline: KyvoPipeline, images: list[np.ndarray], scenes: list[Scene]) -> None:
    """The twelve images with the highest scores, the worst first."""
    from kyvo_ros.data.images import write_rgb
    from kyvo_ros.drawing import contact_sheet, draw_scene
    from kyvo_ros.scene import CameraView

    worst = sorted(range(len(scenes)), key=lambda index: -_best(scenes[index]))[:12]
    view = CameraView(pipeline.canonical.assumed_camera(_WIDTH, _HEIGHT), pipeline.nominal_plane())
    panels = [draw_scene(images[i], scenes[i], view) for i in worst]
    write_rgb(path, contact_sheet(panels, [f"highest score {_best(scenes[i]):.2f}" for i in worst]))
