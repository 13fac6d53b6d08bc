"""How well whole objects are recognised: layout with class, poses, sizes, and surfaces where they were put.

Layout counts by the Jaccard index (`jaccard`). For poses, objects are paired with the true ones so that the sum of
distances in the ground plane is least, whatever their class, and pairs further apart than PAIRED_M count as none.
Surfaces are compared as clouds of points of whole scenes, so that an object in the wrong place, one that is missing and
one too many all cost. Distances are shares of the mean diagonal of the true objects' boxes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from kyvo_ros.evaluation.jaccard import ground_distances_m, jaccard_index, same_attributes
from kyvo_ros.evaluation.place import yaw_error_rad
from kyvo_ros.evaluation.shape_metrics import f_score
from kyvo_ros.evaluation.yaw_symmetry import yaw_period_rad
from kyvo_ros.scene import Scene

#: Distances at which layouts count as right, metres.
TAUS_M = (0.25, 0.5)
#: Farthest apart that an object and a true one are the same one seen wrongly.
PAIRED_M = 1.0
#: Distances at which surfaces count as right, shares of a diagonal.
THRESHOLDS = (0.02, 0.05, 0.1)


@dataclass(frozen=True)
class ObjectScores:
    """Of one scene; what no pair or no surface tells is None."""

    jaccard: dict[float, float]  # by TAUS_M
    right_class: float | None  # share of pairs
    position_error_m: float | None  # median over pairs, in three dimensions
    yaw_error_deg: float | None  # median over pairs whose true mesh shows a yaw, by its `yaw_period_rad`
    yaw_chance_deg: float | None  # what a guess would have of the same pairs: a quarter of the period
    size_error: float | None  # mean over pairs and axes, as a share of the true extent
    f_scores: dict[float, float]  # by THRESHOLDS; 0 where nothing was reconstructed


def paired(predicted: Scene, truth: Scene) -> list[tuple[int, int]]:
    """Indices of objects that are taken for each other. Raises SceneError for different frames."""
    distance_m = ground_distances_m(predicted, truth)
    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(distance_m)) if distance_m[i, j] <= PAIRED_M]


def object_scores(predicted: Scene, truth: Scene, points: np.ndarray, true_points: np.ndarray) -> ObjectScores:
    """Compare a scene with the true one; `points` (N, 3) lie on the surfaces of each, metres, in the scenes' frame.

    Raises ValueError for a truth without objects or points, SceneError for different frames.
    """
    if not len(truth) or not len(true_points):
        raise ValueError("expected a true scene with objects and points on them")
    pairs = [(predicted.objects[i], truth.objects[j]) for i, j in paired(predicted, truth)]
    turned = [(a, b, period) for a, b in pairs if None not in (a.yaw_rad, b.yaw_rad) and b.mesh is not None
              and (period := yaw_period_rad(b.mesh)) is not None]
    diagonal_m = float(np.mean([np.linalg.norm(item.size_m) for item in truth.objects]))
    return ObjectScores(
        {tau: jaccard_index(predicted, truth, tau) for tau in TAUS_M},
        _mean([same_attributes(a, b) for a, b in pairs]),
        _median([float(np.linalg.norm(a.position_m - b.position_m)) for a, b in pairs]),
        _median([math.degrees(yaw_error_rad(a.yaw_rad, b.yaw_rad, period)) for a, b, period in turned]),
        _mean([math.degrees(period) / 4 for _, _, period in turned]),
        _mean([float((np.abs(a.size_m - b.size_m) / b.size_m).mean()) for a, b in pairs if a.size_m is not None]),
        surface_f_scores(points, true_points, diagonal_m))


def surface_f_scores(points: np.ndarray, truth: np.ndarray, diagonal_m: float) -> dict[float, float]:
    """F-scores by THRESHOLDS of points (N, 3) against the truth's (M, 3); 0 where there are none."""
    if not len(points):
        return dict.fromkeys(THRESHOLDS, 0.0)
    to_truth, to_shape = cKDTree(truth).query(points)[0], cKDTree(points).query(truth)[0]
    return {t: f_score(to_truth, to_shape, t * diagonal_m) for t in THRESHOLDS}


def mean_scores(scores: Sequence[ObjectScores]) -> dict[str, float | None]:
    """By name, the mean over scenes of what is not None; None where all are."""
    rows: dict[str, list[float]] = {}
    for score in scores:
        single = {name: getattr(score, name) for name in ("right_class", "position_error_m", "yaw_error_deg",
                                                          "yaw_chance_deg", "size_error")}
        named = {**{f"jaccard_{tau:g}": v for tau, v in score.jaccard.items()}, **single,
                 **{f"f_score_{t:g}": v for t, v in score.f_scores.items()}}
        for name, value in named.items():
            rows.setdefault(name, []).extend([] if value is None else [value])
    return {name: _mean(values) for name, values in rows.items()}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None
