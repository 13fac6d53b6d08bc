"""Objects that count: by hand-placed objects at the borders of hand-made cameras."""

from __future__ import annotations

import math

import pytest

from kyvo_ros.evaluation.region import counts_in, jaccard_where
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject

#: Looks down by 45 degrees from 10 m: at the origin's depth a metre to the right is 10 pixels.
PLANE = PlaneCamera(10.0, math.pi / 4)
RAW = CameraView(PinholeCamera(100, 100, 100.0, 100.0, 50.0, 50.0), PLANE)
CANONICAL = PinholeCamera(80, 80, 100.0, 100.0, 40.0, 40.0)  # sees 4 m to either side there


def ball(x: float, color: str = "red", size_m=(0.5, 0.5, 0.5)) -> SceneObject:
    return SceneObject({"size": "small", "color": color, "material": "rubber", "shape": "sphere"}, [x, 0.0, 0.0],
                       size_m=size_m)


def test_the_centre_in_the_canonical_and_the_box_in_the_raw_image() -> None:
    counts = counts_in(CANONICAL, [RAW])
    assert counts(ball(3.9)) and not counts(ball(4.1))
    narrow = CameraView(PinholeCamera(60, 100, 100.0, 100.0, 30.0, 50.0), PLANE)  # 3 m to either side
    counts = counts_in(CANONICAL, [RAW, narrow])
    assert counts(ball(2.5)) and not counts(ball(2.9))  # a quarter of a metre of box beyond it
    assert counts(ball(2.9, size_m=None)) and not counts(ball(3.1, size_m=None))


@pytest.mark.parametrize("predicted, score", [
    ([ball(1.0)], 1.0),
    ([ball(1.0), ball(4.5)], 1.0),  # outside, whether it matches a true object there
    ([ball(1.0), ball(4.5, "blue")], 1.0),  # ... or not
    ([ball(1.0), ball(3.0, "blue")], 0.5),  # wrong inside
    ([], 0.0),
    ([ball(1.0), ball(3.95)], 1.0),  # matches the one outside from inside
])
def test_what_is_outside_costs_neither_side(predicted, score) -> None:
    truth = Scene((ball(1.0), ball(4.1), ball(4.5)))
    counts = counts_in(CANONICAL, [RAW])
    assert jaccard_where(Scene(predicted), truth, 0.25, counts) == pytest.approx(score)


def test_a_match_across_the_border_is_a_match() -> None:
    counts = counts_in(CANONICAL, [RAW])
    assert jaccard_where(Scene((ball(4.05),)), Scene((ball(3.95),)), 0.25, counts) == 1.0


def test_without_a_counting_object_there_is_no_score() -> None:
    assert jaccard_where(Scene((ball(0.0),)), Scene((ball(4.5),)), 0.25, counts_in(CANONICAL, [RAW])) is None
