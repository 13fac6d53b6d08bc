"""A solid fitted to points: the likeliest numbers, given where the model saw it and that some points are not its own.

Gauss-Newton on signed distances with weights that let outliers go (Geman and McClure 1987), and a normal prior. Points
of one image share errors, so that many of them count no more than a limited number of independent ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Points that are farther from the surface than so many times the residuals' scale are not on it.
OUTLIER = 3.0
#: Independent measurements that any number of points of one image amounts to.
_INDEPENDENT_POINTS = 40.0
#: The scale of the residuals is not taken for less than this share of the expected noise.
_LEAST_SCALE = 0.3
_STEPS, _CONVERGED = 15, 1e-3  # at most so many, and until they are shorter than this share of the prior's deviation
_DIFFERENCE = 1e-5  # of the numbers, metres or radians, for derivatives


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit gives."""

    numbers: np.ndarray  # (P,)
    covariance: np.ndarray  # (P, P)
    on_surface: np.ndarray  # (N,) bool: which points lie on it
    rms_m: float  # of the distances of those that do


def fit(distances: Callable[[np.ndarray, np.ndarray], np.ndarray], points: np.ndarray, noise_m: np.ndarray,
        start: np.ndarray, prior: np.ndarray, prior_sigma: np.ndarray) -> Fit:
    """The numbers (P,) whose surface points (N, 3) lie on, N > 0.

    Args:
        distances: signed distances (N,) from numbers and points.
        noise_m: (N,) expected standard deviations of the points.
        start: (P,) numbers to begin with; the nearest optimum is found.
        prior, prior_sigma: (P,) where the numbers are before, and how sure that is.
    """
    numbers, share = start.copy(), min(1.0, _INDEPENDENT_POINTS / len(points))
    for _ in range(_STEPS):
        residuals, slopes = _linearised(distances, numbers, points, noise_m)
        scale = _scale(residuals)
        weights = share * (1 + (residuals / (OUTLIER * scale)) ** 2) ** -2 / scale**2
        precision = slopes.T @ (weights[:, None] * slopes) + np.diag(prior_sigma**-2)
        step = np.linalg.solve(precision, slopes.T @ (weights * residuals) + (numbers - prior) / prior_sigma**2)
        numbers = numbers - step
        if (np.abs(step) < _CONVERGED * prior_sigma).all():
            break
    residuals = distances(numbers, points) / noise_m
    on_surface = np.abs(residuals) < OUTLIER * _scale(residuals)
    rms = np.sqrt(np.mean((residuals * noise_m)[on_surface] ** 2)) if on_surface.any() else 0.0
    return Fit(numbers, np.linalg.inv(precision), on_surface, float(rms))


def _linearised(distances: Callable[[np.ndarray, np.ndarray], np.ndarray], numbers: np.ndarray, points: np.ndarray,
                noise_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Residuals (N,) in standard deviations, and their derivatives (N, P)."""
    here = distances(numbers, points)
    moved = [distances(numbers + _DIFFERENCE * axis, points) for axis in np.eye(len(numbers))]
    slopes = (np.stack(moved, axis=-1) - here[:, None]) / _DIFFERENCE
    return here / noise_m, slopes / noise_m[:, None]


def _scale(residuals: np.ndarray) -> float:
    """Robust standard deviation: of residuals of the expected noise, one."""
    return max(_LEAST_SCALE, 1.4826 * float(np.median(np.abs(residuals))))
