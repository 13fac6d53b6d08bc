"""What confidences are worth, on claims and scenes small enough to score by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.evaluation import evaluate_recognition
from kyvo_ros.evaluation.confidence import (
    attribute_claims, calibration_error, coverage, object_claims, position_errors, reliability,
)
from kyvo_ros.scene import Scene, SceneObject

BALL = {"size": "small", "color": "blue", "material": "rubber", "shape": "sphere"}


def ball(x: float, y: float = 0.0, confidence: float = 1.0, covariance=None, **words: str) -> SceneObject:
    return SceneObject({**BALL, **words}, [x, y, 0.35], confidence=confidence, position_covariance_m2=covariance,
                       attribute_confidence={"size": 0.9, "color": 0.6})


TRUTH = Scene([ball(0), ball(2), ball(-2)])
PREDICTED = Scene([ball(0.1, confidence=0.95),  # right
                   ball(2.3, confidence=0.55),  # in place, but farther than 0.25 m
                   ball(-2.0, color="red", confidence=0.35),  # in place, wrong colour
                   ball(5.0, confidence=0.15)])  # nothing there


def test_what_counts_as_correct() -> None:
    claims = object_claims([(PREDICTED, TRUTH)])
    assert claims.confidence.tolist() == [0.95, 0.55, 0.35, 0.15] and claims.correct.tolist() == [1, 0, 0, 0]
    words = attribute_claims([(PREDICTED, TRUTH)])
    assert words["color"].confidence.tolist() == [0.6] * 3 and words["color"].correct.tolist() == [1, 1, 0]
    assert words["size"].correct.tolist() == [1, 1, 1] and len(words["shape"].confidence) == 0


def test_the_report_on_confidences() -> None:
    report = evaluate_recognition([(PREDICTED, TRUTH)])
    assert report.calibration_error == pytest.approx((0.05 + 0.55 + 0.35 + 0.15) / 4)
    errors = report.attribute_calibration_errors
    assert errors["size"] == pytest.approx(0.1) and errors["color"] == pytest.approx(abs(0.6 - 2 / 3))
    assert errors["shape"] is None and errors["material"] is None  # no confidence is stated
    precision = {least: score.precision for least, score in report.by_threshold.items()}
    assert precision == pytest.approx({0.1: 1 / 4, 0.3: 1 / 3, 0.5: 1 / 2, 0.7: 1.0, 0.9: 1.0})
    assert [score.recall for score in report.by_threshold.values()] == pytest.approx([1 / 3] * 5)
    assert report.coverage == {0.5: None, 0.9: None}  # no covariance is stated
    document = report.to_dict()
    assert document["by_threshold"]["0.5"] == {"precision": 1 / 2, "recall": pytest.approx(1 / 3)}
    assert "precision and recall, scores from 0.5  " in report.table() and "| - of color | 0.067 |" in report.markdown()


def test_a_threshold_frees_what_a_duplicate_had_taken() -> None:
    twice = Scene([ball(0.2, confidence=0.2), ball(0.0, confidence=0.9)])
    scores = evaluate_recognition([(twice, Scene([ball(0)]))]).by_threshold
    assert (scores[0.1].precision, scores[0.1].recall) == (0.5, 1.0)
    assert (scores[0.5].precision, scores[0.5].recall) == (1.0, 1.0)


def test_no_prediction_at_all() -> None:
    report = evaluate_recognition([(Scene(), TRUTH)])
    assert report.by_threshold[0.5].precision is None and report.by_threshold[0.5].recall == 0.0
    assert report.calibration_error is None and set(report.attribute_calibration_errors.values()) == {None}


def test_coverage_of_an_ellipse() -> None:
    """Half of a Gaussian in the plane lies within 1.177 deviations, nine tenths within 2.146."""
    covariance = np.diag([0.04, 0.01])  # deviations 0.2 and 0.1
    errors = np.array([[0.2, 0.0], [0.0, 0.12], [0.3, 0.1], [0.0, -0.3]])  # 1, 1.2, 1.80, 3 deviations
    covariances = np.broadcast_to(covariance, (4, 2, 2))
    assert coverage(errors, covariances, 0.5) == 0.25 and coverage(errors, covariances, 0.9) == 0.75
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = coverage(errors @ turn.T, np.broadcast_to(turn @ covariance @ turn.T, (4, 2, 2)), 0.9)
    assert turned == 0.75
    assert coverage(np.zeros((0, 2)), np.zeros((0, 2, 2)), 0.5) is None


def test_a_gaussian_of_the_stated_covariance_covers_what_it_should() -> None:
    covariance = np.array([[0.04, 0.015], [0.015, 0.01]])
    errors = np.random.default_rng(0).multivariate_normal([0, 0], covariance, 20000)
    for level in (0.5, 0.9):
        assert coverage(errors, np.broadcast_to(covariance, (20000, 2, 2)), level) == pytest.approx(level, abs=0.01)


def test_position_errors_are_those_of_predictions_in_place() -> None:
    predicted = Scene([ball(0.1, 0.2, covariance=np.diag([1.0, 2.0, 3.0])), ball(2.0), ball(7.0, covariance=np.eye(3))])
    errors, covariances = position_errors([(predicted, TRUTH)])
    assert errors == pytest.approx(np.array([[0.1, 0.2]])) and covariances.tolist() == [[[1.0, 0.0], [0.0, 2.0]]]


def test_reliability_bins() -> None:
    bins = reliability([0.0, 0.05, 0.1, 0.95, 1.0], [0, 1, 1, 1, 0])
    assert bins.count.tolist() == [2, 1, 2]
    assert bins.confidence == pytest.approx([0.025, 0.1, 0.975]) and bins.correct == pytest.approx([0.5, 1.0, 0.5])
    assert len(reliability([], []).count) == 0


def test_calibration_error() -> None:
    assert calibration_error([0.75] * 4, [1, 1, 1, 0]) == 0.0
    assert calibration_error([1.0, 0.1], [0, 0]) == pytest.approx(0.55)
    assert calibration_error([], []) == 0.0
