"""Scores of scenes of whole objects, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.data.assets import make_asset
from kyvo_ros.evaluation.object_scores import mean_scores, object_scores, paired, surface_f_scores
from kyvo_ros.scene import Scene, SceneObject


def item(x: float, word: str = "mug", yaw: float = 0.0) -> SceneObject:
    return SceneObject({"category": word}, [x, 0.0, 0.5], yaw, [3.0, 0.0 + 4.0, 12.0],  # a diagonal of 13
                       mesh=make_asset(word, 0))


TRUTH = Scene((item(0.0), item(5.0, "bowl")))
POINTS = np.array([[0.0, 0, 0], [5.0, 0, 0]])


def test_a_perfect_scene() -> None:
    scores = object_scores(TRUTH, TRUTH, POINTS, POINTS)
    assert scores.jaccard == {0.25: 1.0, 0.5: 1.0} and scores.right_class == 1.0
    assert scores.position_error_m == scores.yaw_error_deg == scores.size_error == 0.0
    assert set(scores.f_scores.values()) == {1.0}


def test_errors_by_hand() -> None:
    """One object 0.3 off, turned by 350 degrees, half as large along x; the other of another class; a third too far."""
    near = replace(item(0.3, yaw=math.radians(350)), size_m=np.array([1.5, 4.0, 12.0]))
    guess = Scene((item(5.0, "mug"), near, item(-4.0)))
    assert sorted(paired(guess, TRUTH)) == [(0, 1), (1, 0)]
    scores = object_scores(guess, TRUTH, POINTS[:1], POINTS)
    assert scores.right_class == 0.5 and scores.position_error_m == pytest.approx(0.15)
    assert scores.yaw_error_deg == pytest.approx(10.0) and scores.yaw_chance_deg == 90.0, "of the mug; bowls are round"
    assert scores.size_error == pytest.approx(0.5 / 6)
    assert scores.jaccard == {0.25: 0.0, 0.5: 1 / 4}  # one right of 3 + 2 - 1
    assert scores.f_scores[0.02] == pytest.approx(2 * 1.0 * 0.5 / 1.5)


def test_surfaces_count_by_shares_of_the_diagonal() -> None:
    moved = POINTS + [0.6, 0, 0]  # of 13: 4.6 %
    assert surface_f_scores(moved, POINTS, 13.0) == {0.02: 0.0, 0.05: 1.0, 0.1: 1.0}
    assert surface_f_scores(np.zeros((0, 3)), POINTS, 13.0) == {0.02: 0.0, 0.05: 0.0, 0.1: 0.0}


def test_what_nothing_tells_is_left_out_of_means() -> None:
    empty = object_scores(Scene(), TRUTH, np.zeros((0, 3)), POINTS)
    assert empty.position_error_m is None and empty.right_class is None and empty.jaccard[0.5] == 0.0
    means = mean_scores([empty, object_scores(TRUTH, TRUTH, POINTS, POINTS)])
    assert means["position_error_m"] == 0.0 and means["jaccard_0.5"] == 0.5 and means["f_score_0.05"] == 0.5
    assert mean_scores([empty])["yaw_error_deg"] is None
    with pytest.raises(ValueError, match="a true scene with objects"):
        object_scores(TRUTH, Scene(), POINTS, POINTS)
