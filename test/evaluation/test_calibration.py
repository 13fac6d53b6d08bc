"""Fitting a calibration: what is known of made-up predictions comes back, few mistakes decide little, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.evaluation.calibration import CalibrationError, cross_calibrated, fit_calibration, log_loss
from kyvo_ros.evaluation.confidence import Claims, attribute_claims, object_claims, position_errors
from kyvo_ros.scene import Calibration, Scene, SceneObject
from kyvo_ros.scene.calibration import at_temperature

TRUE = {"size": "small", "color": "blue", "material": "rubber", "shape": "sphere"}
WRONG = {"size": "large", "color": "red", "material": "metal", "shape": "cube"}


def made_up(count: int, temperature: float, variance_factors: tuple[float, float], seed: int = 0,
            worst: float = 0.6) -> list[tuple[Scene, Scene]]:
    """Scenes of one object that is wrong as often as its words and place say at `temperature`, and whose position
    errors have `variance_factors` times the variance that it states.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        stated = {name: rng.uniform(worst, 0.999) for name in TRUE}
        words = {name: TRUE[name] if rng.random() < at_temperature(p, temperature) else WRONG[name]
                 for name, p in stated.items()}
        place = rng.uniform(worst, 0.999)
        variance = rng.uniform(0.0005, 0.002, 2)
        error = rng.normal(0, np.sqrt(variance * variance_factors))
        if rng.random() > at_temperature(place, temperature):
            error = error + 3.0  # nowhere near
        predicted = SceneObject(words, [*error, 0.35], confidence=np.prod([*stated.values(), place]),
                                attribute_confidence=stated, position_covariance_m2=np.diag([*variance, 0.0]))
        pairs.append((Scene([predicted]), Scene([SceneObject(TRUE, [0, 0, 0.35])])))
    return pairs


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperatures_and_variances_come_back(temperature: float) -> None:
    found = fit_calibration(made_up(6000, temperature, (0.5, 3.0)))
    assert dict(found.attribute_temperatures) == pytest.approx(dict.fromkeys(TRUE, temperature), rel=0.15)
    assert found.place_temperature == pytest.approx(temperature, rel=0.15)
    assert found.variance_factors == pytest.approx((0.5, 3.0), rel=0.1)


def test_a_fit_helps_scenes_that_it_has_not_seen() -> None:
    fitted, fresh = fit_calibration(made_up(500, 2.0, (0.5, 3.0))), made_up(500, 2.0, (0.5, 3.0), seed=1)
    after = [(fitted.apply(predicted), truth) for predicted, truth in fresh]
    assert log_loss(object_claims(after)) < log_loss(object_claims(fresh))
    assert object_claims(after).calibration_error() < 0.5 * object_claims(fresh).calibration_error()
    errors, covariances = position_errors(after)
    squares = (errors**2 / np.diagonal(covariances, axis1=1, axis2=2)).mean(axis=0)
    assert squares == pytest.approx([1.0, 1.0], abs=0.2)


def test_without_mistakes_the_prior_keeps_temperatures_near_one() -> None:
    pairs = made_up(40, 1e-3, (1.0, 1.0), worst=0.9)
    assert all(claims.correct.all() for claims in attribute_claims(pairs).values())
    found = fit_calibration(pairs)
    assert all(0.5 < t < 1.0 for t in (*found.attribute_temperatures.values(), found.place_temperature))


def test_each_half_is_calibrated_by_the_other() -> None:
    pairs = made_up(20, 2.0, (0.5, 3.0))
    even, odd = fit_calibration(pairs[::2]), fit_calibration(pairs[1::2])
    crossed = cross_calibrated(pairs)
    assert [p.objects[0].confidence for p, _ in crossed[:2]] == [
        odd.apply(pairs[0][0]).objects[0].confidence, even.apply(pairs[1][0]).objects[0].confidence]
    assert [t for _, t in crossed] == [t for _, t in pairs]


def test_an_attribute_without_confidences_has_no_temperature() -> None:
    pairs = [(Scene([SceneObject(TRUE, [0.01, 0.01, 0], confidence=0.9, attribute_confidence={"size": 0.95},
                                 position_covariance_m2=np.eye(3))]), Scene([SceneObject(TRUE, [0, 0, 0])]))]
    assert set(fit_calibration(pairs).attribute_temperatures) == {"size"}


def test_exact_positions_still_make_a_calibration() -> None:
    thing = SceneObject(TRUE, [0, 0, 0], position_covariance_m2=np.eye(3))
    assert isinstance(fit_calibration([(Scene([thing]), Scene([thing]))]), Calibration)


def test_nothing_to_fit_to() -> None:
    far = SceneObject(TRUE, [5, 5, 0], position_covariance_m2=np.eye(3))
    with pytest.raises(CalibrationError, match="nothing to fit to"):
        fit_calibration([(Scene([far]), Scene([SceneObject(TRUE, [0, 0, 0])]))])
    with pytest.raises(CalibrationError):
        fit_calibration([])


def test_log_loss() -> None:
    assert log_loss(Claims(np.array([0.5, 0.25]), np.array([True, False]))) == pytest.approx(
        (np.log(2) - np.log(0.75)) / 2)
    assert log_loss(Claims(np.array([0.0]), np.array([True]))) == pytest.approx(-np.log(1e-6))
