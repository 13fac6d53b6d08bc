"""Fitting a calibration to scenes that a model recognised on images it was not trained on.

Temperatures are those under which what happened is likeliest: an attribute's on the objects matched by place, then the
place's on whole objects. Variance factors are those of the likeliest Gaussian. A weak prior draws temperatures
towards 1, since a good model makes too few mistakes to tell an attribute's temperature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from kyvo_ros.evaluation.confidence import Claims, attribute_claims, object_claims, position_errors
from kyvo_ros.scene import Calibration, Scene
from kyvo_ros.scene.calibration import place_confidence

#: Standard deviation of the logarithm of a temperature before anything was seen.
PRIOR_SIGMA = 0.3
#: Temperatures are sought from exp(-this) to exp(this).
_LOG_LIMIT = 4.0
#: Probabilities keep this far from 0 and 1, so that one impossible event does not decide all.
_CERTAIN = 1e-6


class CalibrationError(ValueError):
    """There is nothing to fit to."""


def fit_calibration(pairs: Sequence[tuple[Scene, Scene]]) -> Calibration:
    """The calibration of pairs (predicted without calibration, truth), each in the support-plane frame.

    Raises CalibrationError where no prediction stands where an object stands, or none states a covariance.
    """
    errors_m, covariances_m2 = position_errors(pairs)
    if not len(errors_m):
        raise CalibrationError("no prediction with a covariance stands where an object stands, so that there is "
                               "nothing to fit to; check the data, or train the model longer")
    words = {name: _temperature(claims.correct, _tempered(claims.confidence))
             for name, claims in attribute_claims(pairs).items() if len(claims.confidence)}
    calibrated = [(Calibration(words).apply(predicted), truth) for predicted, truth in pairs]
    factors = np.mean(errors_m**2 / np.diagonal(covariances_m2, axis1=1, axis2=2), axis=0)
    return Calibration(words, _place_temperature(calibrated), tuple(np.maximum(factors, _CERTAIN).tolist()))


def cross_calibrated(pairs: Sequence[tuple[Scene, Scene]]) -> list[tuple[Scene, Scene]]:
    """The pairs with each half, of every second scene, under the calibration of the other: a fair look at the gain.

    Raises CalibrationError as `fit_calibration` does.
    """
    fits = [fit_calibration(pairs[1::2]), fit_calibration(pairs[::2])]
    return [(fits[index % 2].apply(predicted), truth) for index, (predicted, truth) in enumerate(pairs)]


def log_loss(claims: Claims) -> float:
    """Mean negative logarithm of the probability that was given to what happened, in nats."""
    probability = np.clip(claims.confidence, _CERTAIN, 1 - _CERTAIN)
    return float(-np.mean(np.where(claims.correct, np.log(probability), np.log1p(-probability))))


def _place_temperature(pairs: Sequence[tuple[Scene, Scene]]) -> float:
    """Of objects whose words are calibrated already."""
    objects = [o for predicted, _ in pairs for o in predicted.objects]
    place = _tempered(np.array([place_confidence(o) for o in objects]))
    words = np.array([math.prod(o.attribute_confidence.values()) for o in objects])
    return _temperature(object_claims(pairs).correct, lambda temperature: words * place(temperature))


def _tempered(probability: np.ndarray) -> Callable[[float], np.ndarray]:
    """Probabilities (N,) as a function of the temperature; see `scene.calibration.at_temperature`."""
    log_odds = logit(np.clip(probability, _CERTAIN, 1 - _CERTAIN))
    return lambda temperature: expit(log_odds / temperature)


def _temperature(correct: np.ndarray, probability: Callable[[float], np.ndarray]) -> float:
    """The temperature that makes what happened (N,) likeliest under `probability(temperature)` (N,) and the prior."""
    def cost(log_temperature: float) -> float:
        claims = Claims(probability(math.exp(log_temperature)), correct)
        return len(correct) * log_loss(claims) + 0.5 * (log_temperature / PRIOR_SIGMA) ** 2

    return math.exp(minimize_scalar(cost, bounds=(-_LOG_LIMIT, _LOG_LIMIT), method="bounded").x)
