"""What a model finds where scenes break CLEVR's rules: objects behind one another, off the middle, lit from any side.

    python3 benchmarks/loose_scenes.py [--model DIR] [--scenes 120] [--effort fast] [--json FILE]

CLEVR keeps objects apart along the image's axes, puts them about the middle and lights them from nearly one side. The
ray caster draws as many scenes by these rules as without them, with seeds that training does not use; the model
recognises them at its own resolution. Found is an object with a prediction at its place (`match_by_place`); behind
another is one that has a nearer object less than CLEVR's margin beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kyvo_ros.autoencoders.looks import EFFORTS
from kyvo_ros.data.placement import PlacementSettings
from kyvo_ros.evaluation import jaccard_index, match_by_place
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import CameraView, PlaneCamera, Scene
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.recipe import ExampleSettings
from kyvo_ros.training.sources import ExampleMaker

SEED = 991
BATCH = 16
MARGIN_UNITS = PlacementSettings().margin
TAUS_M = (0.05, 0.25)


def scenes_of(pipeline: KyvoPipeline, count: int, loose: float) -> Iterator[tuple[np.ndarray, Scene, CameraView]]:
    """Images in the canonical view with their scenes; `loose` is the share without CLEVR's rules."""
    settings = ExampleSettings(synthetic=count, other_cameras=0.0, loose=loose, aim_jitter=0.4, seed=SEED)
    examples = ExampleMaker(pipeline.canonical, pipeline.schema, settings).synthetic(0)
    words = word_values(pipeline.schema)
    for index in range(len(examples)):
        plane = PlaneCamera(*map(float, examples.camera[index, :2]))
        yield examples.images[index], examples.scene(index, words), CameraView(pipeline.canonical.intrinsics(), plane)


def stand_behind(scene: Scene) -> np.ndarray:
    """(N,) whether an object has another straight before it."""
    x, y = scene.positions_m()[:, :2].T
    return ((np.abs(x[:, None] - x) < MARGIN_UNITS) & (y < y[:, None])).any(axis=1)


def score(pipeline: KyvoPipeline, count: int, loose: float, effort: str) -> dict:
    """Jaccard indices, and the shares of objects that were found."""
    samples, predicted = list(scenes_of(pipeline, count, loose)), []
    for start in range(0, len(samples), BATCH):
        images, _, views = zip(*samples[start:start + BATCH])
        predicted += pipeline.recognize_batch(images, views, effort=effort)
    pairs = [(guess, truth) for guess, (_, truth, _) in zip(predicted, samples)]
    found = np.concatenate([np.isin(np.arange(len(truth)), [j for _, j in match_by_place(guess, truth)])
                            for guess, truth in pairs])
    behind = np.concatenate([stand_behind(truth) for _, truth in pairs])

    def share(which: np.ndarray) -> float | None:
        return float(found[which].mean()) if which.any() else None
    return {"scenes": len(pairs), "objects": len(found),
            "jaccard": {f"{tau:g}": float(np.mean([jaccard_index(*pair, tau) for pair in pairs])) for tau in TAUS_M},
            "found": share(np.ones_like(behind)), "objects_behind_another": int(behind.sum()),
            "found_behind_another": share(behind), "found_otherwise": share(~behind)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="model folder (default: the shipped one)")
    parser.add_argument("--scenes", type=int, default=120, help="of each kind (default: %(default)s)")
    parser.add_argument("--effort", choices=tuple(EFFORTS), default="fast", help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    pipeline = KyvoPipeline.from_pretrained(given.model)
    results = {name: score(pipeline, given.scenes, loose, given.effort)
               for name, loose in (("by CLEVR's rules", 0.0), ("loose", 1.0))}
    for name, figures in results.items():
        print(f"{pipeline.name}, {given.effort}, {name}: {json.dumps(figures, indent=1)}")
    if given.json:
        given.json.write_text(json.dumps({"model": pipeline.name, "effort": given.effort, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
