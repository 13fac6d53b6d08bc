"""Metrics of shapes, worked by hand."""

import numpy as np
import pytest

from kyvo_ros.evaluation.shape_metrics import f_score, surface_scores, volume_iou

UP, SIDE = np.array([[0.0, 0, 1]]), np.array([[1.0, 0, 0]])


def test_the_same_points_are_perfect():
    points = np.random.default_rng(0).random((50, 3))
    scores = surface_scores(points, np.tile(UP, (50, 1)), points, np.tile(-UP, (50, 1)), 1.0)
    assert scores.chamfer == 0 and set(scores.f_scores.values()) == {1.0} and scores.normal_consistency == 1


def test_two_points_against_one():
    """From the shape: 0 and 1 away; from the truth: 0. Chamfer (0.5 + 0) / 2 / diagonal 10."""
    shape, truth = np.array([[0.0, 0, 0], [1, 0, 0]]), np.zeros((1, 3))
    scores = surface_scores(shape, np.concatenate([UP, SIDE]), truth, UP, 10.0, (0.05, 0.1))
    assert scores.chamfer == pytest.approx(0.025)
    assert scores.f_scores == pytest.approx({0.05: 2 * 0.5 * 1 / 1.5, 0.1: 1.0})
    assert scores.normal_consistency == pytest.approx((0.5 + 1) / 2)


def test_nothing_near_is_zero():
    assert f_score(np.ones(3), np.ones(3), 0.5) == 0.0
    with pytest.raises(ValueError, match="points of both shapes"):
        surface_scores(np.zeros((0, 3)), np.zeros((0, 3)), UP, UP, 1.0)


def test_volumes():
    a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert volume_iou(a, b) == 1.0
    a[0], b[:, 0] = True, True
    assert volume_iou(a, b) == pytest.approx(2 / 6)
    with pytest.raises(ValueError, match="one shape"):
        volume_iou(a, b[0])
