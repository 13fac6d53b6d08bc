"""How well whole objects are recognised: layout with class, poses, sizes, and surfaces where they were put.

Layout counts by the Jaccard index (`jaccard`). For poses, objects are paired with the true ones so that the sum of
distances in the ground plane is least, whatever their class, and pairs further apart than PAIRED_M count as none.
Surfaces are compared as clouds of points of whole scenes, so that an object in the wrong place, one that is missing and
one too many all cost. Distances are shares of the mean diagonal of the true objects' boxes.
How far the shapes themselves are those of the objects, place, turn and size aside, pairs tell: each in its own frame,
its box drawn to a unit cube; and as what chance would have, the same against the other true objects of the scene.
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
#: That of shapes in their own frames, of the diagonal of the unit cube, and how many of their points are compared.
OWN_THRESHOLD, OWN_POINTS = 0.05, 1000


@dataclass(frozen=True, eq=False)
class Surface:
    """Points spread over an object's surface, in its own frame, metres."""

    points_m: np.ndarray  # (N, 3)
    colors: np.ndarray  # (N, 3) in [0, 1]

    def in_unit_cube(self) -> np.ndarray:
        """(M, 3) of the first OWN_POINTS points, the box of all of them drawn to the unit cube."""
        low, high = self.points_m.min(axis=0), self.points_m.max(axis=0)
        return (self.points_m[:OWN_POINTS] - low) / np.maximum(high - low, 1e-9)


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
    shape_f_score: float | None  # mean over pairs with surfaces, each in its own frame
    shape_f_score_chance: float | None  # of the same shapes against the other true objects
    color_error: float | None  # mean over these pairs, of the mean colour of a surface, over channels in [0, 1]
    color_error_chance: float | None  # as above


def paired(predicted: Scene, truth: Scene) -> list[tuple[int, int]]:
    """Indices of objects that are taken for each other. Raises SceneError for different frames."""
    distance_m = ground_distances_m(predicted, truth)
    return [(int(i), int(j)) for i, j in zip(*linear_sum_assignment(distance_m)) if distance_m[i, j] <= PAIRED_M]


def object_scores(predicted: Scene, truth: Scene, surfaces: Sequence[Surface | None],
                  true_surfaces: Sequence[Surface | None]) -> ObjectScores:
    """Compare a scene with the true one; the surfaces are those of each scene's objects, None for one without.

    Raises ValueError for a truth without objects or surfaces, SceneError for different frames.
    """
    if not len(truth) or all(surface is None for surface in true_surfaces):
        raise ValueError("expected a true scene with objects and points on them")
    numbers = paired(predicted, truth)
    pairs = [(predicted.objects[i], truth.objects[j]) for i, j in numbers]
    turned = [(a, b, period) for a, b in pairs if None not in (a.yaw_rad, b.yaw_rad) and b.mesh is not None
              and (period := yaw_period_rad(b.mesh)) is not None]
    diagonal_m = float(np.mean([np.linalg.norm(item.size_m) for item in truth.objects]))
    own = [(surfaces[i], true_surfaces[j]) for i, j in numbers]
    others = [(surfaces[i], other) for i, j in numbers for k, other in enumerate(true_surfaces) if k != j]
    return ObjectScores(
        {tau: jaccard_index(predicted, truth, tau) for tau in TAUS_M},
        _mean([same_attributes(a, b) for a, b in pairs]),
        _median([float(np.linalg.norm(a.position_m - b.position_m)) for a, b in pairs]),
        _median([math.degrees(yaw_error_rad(a.yaw_rad, b.yaw_rad, period)) for a, b, period in turned]),
        _mean([math.degrees(period) / 4 for _, _, period in turned]),
        _mean([float((np.abs(a.size_m - b.size_m) / b.size_m).mean()) for a, b in pairs if a.size_m is not None]),
        surface_f_scores(_placed(predicted, surfaces), _placed(truth, true_surfaces), diagonal_m),
        *_shape_scores(own, others))


def _placed(scene: Scene, surfaces: Sequence[Surface | None]) -> np.ndarray:
    """(N, 3) points of all surfaces where their objects stand."""
    clouds = [item.pose().apply(surface.points_m) for item, surface in zip(scene.objects, surfaces)
              if surface is not None]
    return np.concatenate([np.zeros((0, 3)), *clouds])


def _shape_scores(own: Sequence[tuple[Surface | None, Surface | None]],
                  others: Sequence[tuple[Surface | None, Surface | None]]) -> list[float | None]:
    """F-score and its chance, colour error and its chance."""
    scores = []
    for score in (_own_f_score, lambda a, b: float(np.abs(a.colors.mean(axis=0) - b.colors.mean(axis=0)).mean())):
        scores += [_mean([score(a, b) for a, b in pairs if a is not None and b is not None]) for pairs in (own, others)]
    return scores


def _own_f_score(surface: Surface, truth: Surface) -> float:
    threshold = OWN_THRESHOLD * math.sqrt(3)
    return f_score(*_distances(surface.in_unit_cube(), truth.in_unit_cube()), threshold)


def _distances(points: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each point (N, 3) from the truth, and of each of the truth's (M, 3) from the points."""
    return cKDTree(truth).query(points)[0], cKDTree(points).query(truth)[0]


def surface_f_scores(points: np.ndarray, truth: np.ndarray, diagonal_m: float) -> dict[float, float]:
    """F-scores by THRESHOLDS of points (N, 3) against the truth's (M, 3); 0 where there are none."""
    if not len(points):
        return dict.fromkeys(THRESHOLDS, 0.0)
    to_truth, to_shape = _distances(points, truth)
    return {t: f_score(to_truth, to_shape, t * diagonal_m) for t in THRESHOLDS}


def mean_scores(scores: Sequence[ObjectScores]) -> dict[str, float | None]:
    """By name, the mean over scenes of what is not None; None where all are."""
    rows: dict[str, list[float]] = {}
    for score in scores:
        single = {name: value for name, value in vars(score).items() if name not in ("jaccard", "f_scores")}
        named = {**{f"jaccard_{tau:g}": v for tau, v in score.jaccard.items()}, **single,
                 **{f"f_score_{t:g}": v for t, v in score.f_scores.items()}}
        for name, value in named.items():
            rows.setdefault(name, []).extend([] if value is None else [value])
    return {name: _mean(values) for name, values in rows.items()}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if len(values) else None
