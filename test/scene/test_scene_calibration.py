"""Calibration: hand-worked temperatures, what it leaves alone, its dictionary, and bad values."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from kyvo_ros.scene import Calibration, Scene, SceneObject
from kyvo_ros.scene.calibration import at_temperature, place_confidence


def ball(confidence: float = 0.36, **words: float) -> SceneObject:
    return SceneObject({"color": "red", "shape": "sphere"}, [1.0, 2.0, 0.7], confidence=confidence,
                       attribute_confidence=words, position_covariance_m2=np.diag([0.01, 0.04, 0.09]))


def test_a_temperature_divides_the_log_odds() -> None:
    assert at_temperature(0.8, 2.0) == pytest.approx(2 / 3)  # odds 4 -> 2
    assert at_temperature(0.8, 0.5) == pytest.approx(16 / 17)  # odds 4 -> 16
    assert [at_temperature(p, 3.0) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 0.5, 1.0])
    assert at_temperature(1e-300, 0.1) == 0.0
    two = np.array([1.2, -0.3])
    softmax = np.exp(two / 1.7) / np.exp(two / 1.7).sum()
    assert at_temperature(1 / (1 + math.exp(-1.5)), 1.7) == pytest.approx(softmax[0])


def test_words_and_place_are_calibrated_apart() -> None:
    thing = ball(0.36, color=0.8, shape=0.9)
    assert place_confidence(thing) == pytest.approx(0.5)
    scene = Calibration({"color": 2.0}, 0.5, (4.0, 0.25)).apply(Scene([thing]))
    after = scene.objects[0]
    assert dict(after.attribute_confidence) == pytest.approx({"color": 2 / 3, "shape": 0.9})
    assert after.confidence == pytest.approx(2 / 3 * 0.9 * 0.5)  # odds of the place are even at any temperature
    assert after.position_covariance_m2 == pytest.approx(np.diag([0.04, 0.01, 0.09]))
    assert after.position_m is thing.position_m and after.attributes == thing.attributes


def test_as_it_comes_it_changes_nothing() -> None:
    things = [ball(0.36, color=0.8, shape=0.9), ball(0.0, color=0.0), ball(1.0),
              SceneObject({"shape": "cube"}, [0, 0, 0])]
    for before, after in zip(things, Calibration().apply(Scene(things)).objects):
        assert after.confidence == pytest.approx(before.confidence, abs=1e-15)
        assert after.attribute_confidence == before.attribute_confidence
        if before.position_covariance_m2 is None:
            assert after.position_covariance_m2 is None
        else:
            np.testing.assert_array_equal(after.position_covariance_m2, before.position_covariance_m2)


def test_the_order_of_confidences_is_kept() -> None:
    scene = Scene([ball(p * 0.8, color=0.8) for p in np.linspace(0, 1, 50)])
    after = [o.confidence for o in Calibration({"color": 0.3}, 3.0).apply(scene).objects]
    assert sorted(after) == after


def test_round_trip_as_json() -> None:
    calibration = Calibration({"color": 0.7}, 1.5, (0.5, 2.0))
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration
    assert Calibration.from_dict({}) == Calibration()


@pytest.mark.parametrize("values, message", [
    ({"place_temperature": 0.0}, "place_temperature must be positive and finite, got 0.0"),
    ({"place_temperature": math.nan}, "got nan"), ({"attribute_temperatures": {"color": -1}}, "temperature of color"),
    ({"variance_factors": [1.0, math.inf]}, "variance factor of y"), ({"variance_factors": [1.0]}, "two numbers"),
])
def test_bad_values_are_named(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration.from_dict(values)
