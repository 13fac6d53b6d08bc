"""Objects matched by place alone, and what is right about them: location, attributes, yaw.

This looks past the Jaccard index, which counts an object with one wrong word like one that was never seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.optimize import linear_sum_assignment

import numpy as np

from kyvo_ros.evaluation.jaccard import ground_distances_m
from kyvo_ros.scene import Scene, SceneObject, YawPeriods

#: Ground distance under which two objects are at one place.
SAME_PLACE_M = 0.5


@dataclass(frozen=True)
class PlaceMatch:
    """What is right about one prediction that stands where a true object stands."""

    distance_m: float
    right: Mapping[str, bool]  # an entry for every attribute of the true object
    yaw_error_rad: float | None  # smallest turn between the two; None where either has no yaw


def match_by_place(predicted: Scene, truth: Scene, limit_m: float = SAME_PLACE_M) -> list[tuple[int, int]]:
    """Pairs (prediction, truth) nearer than `limit_m` in the ground plane: as many as can be, then the least total
    distance (optimal assignment). Raises SceneError where the two scenes are in different frames.
    """
    distance_m = ground_distances_m(predicted, truth)
    near = distance_m < limit_m
    never = 1.0 + limit_m * (1 + min(distance_m.shape))  # dearer than any set of near pairs
    rows, columns = linear_sum_assignment(np.where(near, distance_m, never))
    return [(int(i), int(j)) for i, j in zip(rows, columns) if near[i, j]]


def compare_by_place(predicted: Scene, truth: Scene, yaw: YawPeriods = YawPeriods()) -> list[PlaceMatch]:
    """Every pair of `match_by_place`, compared; `yaw` says after which turn the true object looks the same."""
    return [_compare(predicted.objects[i], truth.objects[j], yaw) for i, j in match_by_place(predicted, truth)]


def _compare(guess: SceneObject, true: SceneObject, periods: YawPeriods) -> PlaceMatch:
    yaw = None if guess.yaw_rad is None or true.yaw_rad is None else yaw_error_rad(
        guess.yaw_rad, true.yaw_rad, periods.of(true.attributes))
    return PlaceMatch(float(np.hypot(*(guess.position_m - true.position_m)[:2])), rights(guess, true), yaw)


def rights(guess: SceneObject, true: SceneObject) -> dict[str, bool]:
    """For each attribute of the true object whether the guess has it right."""
    return {name: guess.attributes.get(name) == value for name, value in true.attributes.items()}


def yaw_error_rad(one: float, other: float, period_rad: float) -> float:
    """Smallest turn between two yaws of an object that looks the same after `period_rad`, in [0, period_rad / 2]."""
    return abs(math.remainder(one - other, period_rad))
