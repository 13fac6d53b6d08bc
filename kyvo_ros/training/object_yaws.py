"""What of an object's yaw an image can tell: how often it looks the same in a whole turn.

Labels of yaws are drawn at random, also those of bowls. A decoder that is asked for what nobody can see learns noise, and
from that hardly what it could.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.assets import make_asset
from kyvo_ros.data.object_scenes import ObjectSettings
from kyvo_ros.evaluation.yaw_symmetry import yaw_period_rad
from kyvo_ros.training.object_examples import library
from kyvo_ros.training.worker_rows import rows_of_parts

#: Assets that a worker process looks at a time.
_A_TASK = 50


def make_shape_turns(objects: ObjectSettings, path: Path, workers: int) -> None:
    """Write how often each shape of the library looks the same in a whole turn, and its mirror image behind it; not
    where that is there.
    """
    if path.exists():
        return
    assets = library(objects)
    parts = [assets[i:i + _A_TASK] for i in range(0, len(assets), _A_TASK)]
    turns = rows_of_parts(_turns, parts, workers, "turns of shapes", f"{_A_TASK} shapes")
    write_arrays(path, turns=np.repeat(np.array(turns, np.float32), 2))


def load_shape_turns(path: Path) -> np.ndarray:
    """(2 K,) float32 1, 2 or, of round ones, 0, by the names of shapes in the examples."""
    with np.load(path) as arrays:
        return arrays["turns"]


def _turns(assets: list[tuple[str, int]]) -> list[float]:
    periods = [yaw_period_rad(make_asset(category, index)) for category, index in assets]
    return [0.0 if period is None else round(2 * math.pi / period) for period in periods]
