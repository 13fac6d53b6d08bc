"""The recognition report on scenes small enough to score by hand, place matching, and confidences."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.evaluation import evaluate_recognition, in_units, match_by_place
from kyvo_ros.evaluation.confidence import average_precision
from kyvo_ros.evaluation.place import yaw_error_rad
from kyvo_ros.scene import Scene, SceneObject, YawPeriods

CUBE = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}
BALL = {"size": "small", "color": "blue", "material": "rubber", "shape": "sphere"}


def thing(attributes, x, y, yaw_deg=None, confidence=1.0):
    return SceneObject(attributes, np.array([x, y, 0.5]), None if yaw_deg is None else math.radians(yaw_deg),
                       confidence=confidence)


def test_hand_worked_report():
    truth = Scene([thing(CUBE, 0, 0, 10), thing(BALL, 2, 0), thing(BALL, -2, -2)])
    predicted = Scene([thing(CUBE, 0.3, 0.4 - 1e-6, 95, confidence=0.9),  # just under 0.5 away, yaw 5 degrees off
                       thing({**BALL, "color": "red", "size": "large"}, 2.0, 0.1, confidence=0.2),
                       thing(BALL, 3, 3, confidence=0.4)])  # nothing there
    report = evaluate_recognition([(predicted, truth), (Scene(), Scene())])
    assert report.scenes == 2 and report.true_objects == 3 and report.predicted_objects == 3
    assert report.by_tau[0.25].jaccard == pytest.approx((0 + 1) / 2)
    assert report.by_tau[0.5].jaccard == pytest.approx((1 / 5 + 1) / 2)
    assert report.by_tau[0.5].precision == report.by_tau[0.5].recall == pytest.approx(1 / 3)
    assert report.placed == 2 and report.count_right == 1.0
    assert report.attributes == {"size": 0.5, "color": 0.5, "material": 1.0, "shape": 1.0}
    assert report.all_attributes == 0.5
    assert report.location_error_m == pytest.approx(0.3, abs=1e-5)
    assert report.yaw_error_deg == pytest.approx(5.0)
    assert report.average_precision == 0.0  # at 0.25 m nothing is correct
    assert report.calibration_error == pytest.approx((0.9 + 0.2 + 0.4) / 3)


def test_perfect_scenes_score_one():
    truth = Scene([thing(CUBE, 0, 0, 10), thing(BALL, 2, 0)])
    report = evaluate_recognition([(truth, truth)] * 3)
    assert all(s.jaccard == s.precision == s.recall == 1.0 and s.interval == (1.0, 1.0) for s in report.by_tau.values())
    assert report.all_attributes == 1.0 and report.location_error_m == 0.0 and report.average_precision == 1.0


def test_the_report_as_json_table_and_markdown():
    truth = Scene([thing(BALL, 0, 0)])
    report = evaluate_recognition([(Scene(), truth)])
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(document["jaccard"]) == {"0.05", "0.1", "0.25", "0.5"}
    assert document["all_attributes"] is None and document["location_error_m"] is None and document["scenes"] == 1
    assert document["precision"]["0.5"] is None and document["recall"]["0.5"] == 0.0
    assert "Jaccard index" in report.table() and "all of them right" in report.table()
    assert report.markdown().count("\n| ---") == 2
    with pytest.raises(ValueError, match="at least one"):
        evaluate_recognition([])


def test_place_matching_is_optimal():
    truth = Scene([thing(BALL, 0, 0), thing(BALL, 0.6, 0)])
    predicted = Scene([thing(BALL, 0.25, 0), thing(BALL, -0.3, 0)])  # greedy would leave the second without a partner
    assert match_by_place(predicted, truth) == [(0, 1), (1, 0)]
    assert match_by_place(predicted, Scene()) == match_by_place(Scene(), truth) == []
    assert match_by_place(Scene([thing(BALL, 0.5, 0)]), Scene([thing(BALL, 0, 0)])) == []  # the limit is strict


@pytest.mark.parametrize("one, other, degrees", [(0, 90, 0), (1, 89, 2), (-44, 45, 1), (10, 55, 45), (359, 3, 4)])
def test_cube_yaw_error_is_modulo_90_degrees(one, other, degrees):
    assert math.degrees(yaw_error_rad(math.radians(one), math.radians(other), math.pi / 2)) == pytest.approx(degrees)


def test_average_precision():
    assert average_precision([0.9, 0.8, 0.7], [1, 0, 1], 2) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision([0.9, 0.8, 0.7], [1, 0, 1], 4) == pytest.approx((1 / 1 + 2 / 3) / 4)
    assert average_precision([0.5, 0.5], [1, 0], 1) == average_precision([0.5, 0.5], [0, 1], 1) == 0.5
    assert average_precision([], [], 0) == 1.0
    assert average_precision([0.5], [0], 0) == average_precision([], [], 3) == 0.0


def test_a_yaw_counts_by_the_turn_after_which_its_object_looks_the_same() -> None:
    mug = SceneObject({"shape": "mug"}, [0, 0, 0], math.pi)
    pairs = [(Scene([mug]), Scene([replace(mug, yaw_rad=0.0)]))]
    assert evaluate_recognition(pairs).yaw_error_deg == pytest.approx(180.0)
    assert evaluate_recognition(pairs, YawPeriods(math.pi, None)).yaw_error_deg == pytest.approx(0.0, abs=1e-9)


def test_small_things_are_scored_in_their_own_units() -> None:
    truth = Scene([thing(BALL, 0, 0), thing(BALL, 2, 0)])
    predicted = Scene([thing(BALL, 0.3, 0), thing(BALL, 4, 0)])
    expected = evaluate_recognition([(predicted, truth)])
    small = evaluate_recognition(in_units([(predicted.scaled(0.1), truth.scaled(0.1))], 0.1))
    assert small.placed == expected.placed == 1 and small.location_error_m == pytest.approx(0.3)
    assert {tau: s.jaccard for tau, s in small.by_tau.items()} == {tau: s.jaccard for tau, s in expected.by_tau.items()}
