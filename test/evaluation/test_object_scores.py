"""Scores of scenes of whole objects, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.data.assets import make_asset
from kyvo_ros.evaluation.object_scores import Surface, mean_scores, object_scores, paired, surface_f_scores
from kyvo_ros.scene import Scene, SceneObject


def item(x: float, word: str = "mug", yaw: float = 0.0) -> SceneObject:
    return SceneObject({"category": word}, [x, 0.0, 0.5], yaw, [3.0, 0.0 + 4.0, 12.0],  # a diagonal of 13
                       mesh=make_asset(word, 0))


TRUTH = Scene((item(0.0), item(5.0, "bowl")))
POINTS = np.array([[0.0, 0, 0], [5.0, 0, 0]])
POINT = Surface(np.zeros((1, 3)), np.full((1, 3), 0.5))  # in the middle of its object


def box(*size: float, hole: bool = False, color: float = 0.5) -> Surface:
    """Even points in a box, or on its faces alone."""
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 9)] * 3), axis=-1).reshape(-1, 3)
    kept = grid[np.abs(grid).max(axis=1) > 0.49] if hole else grid
    return Surface(kept * size, np.full(kept.shape, color))


def test_a_perfect_scene() -> None:
    scores = object_scores(TRUTH, TRUTH, [POINT, POINT], [POINT, POINT])
    assert scores.jaccard == {0.25: 1.0, 0.5: 1.0} and scores.right_class == 1.0
    assert scores.position_error_m == scores.yaw_error_deg == scores.size_error == 0.0
    assert set(scores.f_scores.values()) == {1.0}


def test_errors_by_hand() -> None:
    """One object 0.3 off, turned by 350 degrees, half as large along x; the other of another class; a third too far."""
    near = replace(item(0.3, yaw=math.radians(350)), size_m=np.array([1.5, 4.0, 12.0]))
    guess = Scene((item(5.0, "mug"), near, item(-4.0)))
    assert sorted(paired(guess, TRUTH)) == [(0, 1), (1, 0)]
    scores = object_scores(guess, TRUTH, [POINT, None, None], [POINT, POINT])
    assert scores.right_class == 0.5 and scores.position_error_m == pytest.approx(0.15)
    assert scores.yaw_error_deg == pytest.approx(10.0) and scores.yaw_chance_deg == 90.0, "of the mug; bowls are round"
    assert scores.size_error == pytest.approx(0.5 / 6)
    assert scores.jaccard == {0.25: 0.0, 0.5: 1 / 4}  # one right of 3 + 2 - 1
    assert scores.f_scores[0.02] == pytest.approx(2 * 1.0 * 0.5 / 1.5), "at 5.0, where nothing stands at 0.0"


def test_shapes_are_compared_in_their_own_frames_beside_what_chance_has() -> None:
    """Wherever, however large: a hollow box is a hollow box; the other object of the scene is full and darker."""
    truth = [box(1.0, 2.0, 3.0, hole=True, color=0.8), box(1.0, 1.0, 1.0, color=0.2)]
    guess = Scene((replace(item(0.4, yaw=1.0), size_m=np.ones(3)), item(5.5, "bowl")))
    scores = object_scores(guess, TRUTH, [box(2.0, 2.0, 2.0, hole=True, color=0.7), None], truth)
    assert scores.shape_f_score == 1.0 and scores.color_error == pytest.approx(0.1)
    assert scores.shape_f_score_chance < 0.95 and scores.color_error_chance == pytest.approx(0.5)
    alone = object_scores(Scene(), TRUTH, [], truth)
    assert alone.shape_f_score is None and alone.color_error_chance is None


def test_surfaces_count_by_shares_of_the_diagonal() -> None:
    moved = POINTS + [0.6, 0, 0]  # of 13: 4.6 %
    assert surface_f_scores(moved, POINTS, 13.0) == {0.02: 0.0, 0.05: 1.0, 0.1: 1.0}
    assert surface_f_scores(np.zeros((0, 3)), POINTS, 13.0) == {0.02: 0.0, 0.05: 0.0, 0.1: 0.0}


def test_what_nothing_tells_is_left_out_of_means() -> None:
    empty = object_scores(Scene(), TRUTH, [], [POINT, POINT])
    assert empty.position_error_m is None and empty.right_class is None and empty.jaccard[0.5] == 0.0
    means = mean_scores([empty, object_scores(TRUTH, TRUTH, [POINT, POINT], [POINT, POINT])])
    assert means["position_error_m"] == 0.0 and means["jaccard_0.5"] == 0.5 and means["f_score_0.05"] == 0.5
    assert mean_scores([empty])["yaw_error_deg"] is None
    with pytest.raises(ValueError, match="a true scene with objects"):
        object_scores(TRUTH, Scene(), [POINT, POINT], [])
