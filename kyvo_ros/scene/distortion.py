"""Lens distortion: where a raw image shows a ray, and the ray of a raw pixel, for the models of
`sensor_msgs/CameraInfo`.

Source: OpenCV's definitions of plumb_bob (Brown-Conrady), rational_polynomial and equidistant (fisheye).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from kyvo_ros.scene.camera import PinholeCamera

#: How many coefficients each model has.
COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
#: Angles from the axis at which a turn of the polynomial is looked for: steps of a fiftieth of a degree.
_ANGLES = 4500

#: Steps of the fixed point in `undistort`, and the error in pixels that it may leave.
_MAX_STEPS, _TOLERANCE_PX = 200, 1e-4


class DistortionError(ValueError):
    """A distortion model is unknown, or has another number of coefficients than it should."""


def is_distorted(camera: PinholeCamera) -> bool:
    """Whether a raw image differs from a pinhole's; an equidistant lens does even with zero coefficients."""
    return any(camera.distortion) or camera.distortion_model == "equidistant"


def distort(points_optical: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Raw pixels (N, 2) that points (N, 3) in the optical frame fall on, with distortion; inverse of `undistort`.

    A polynomial turns back beyond the angle it was fitted to; rays further out than that turn, and rays that do not
    go forward (z <= 0), give NaN. Without distortion this is the pinhole projection.
    Raises DistortionError for an unknown distortion model or number of coefficients.
    """
    depth = points_optical[:, 2]
    x, y = (points_optical[:, :2] / np.where(depth > 1e-9, depth, np.nan)[:, None]).T
    if not is_distorted(camera):
        return np.stack([camera.fx * x + camera.cx, camera.fy * y + camera.cy], axis=-1)
    radius = np.hypot(x, y)
    factor = _radial_factor(radius, camera)
    u, v = x * factor, y * factor
    if camera.distortion_model != "equidistant":
        p1, p2 = camera.distortion[2:4]
        u, v = (u + 2 * p1 * x * y + p2 * (radius**2 + 2 * x**2), v + p1 * (radius**2 + 2 * y**2) + 2 * p2 * x * y)
    pixels = np.stack([camera.fx * u + camera.cx, camera.fy * v + camera.cy], axis=-1)
    return np.where((radius <= _reach(camera))[:, None], pixels, np.nan)


def undistort(pixels: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """Rays (N, 3) with z = 1 in the optical frame that raw pixels (N, 2) see; inverse of `distort`.

    NaN for a pixel that no ray falls on, beyond where the polynomial turns back. A fixed point: the lens may squeeze
    the pinhole's image as it likes but stretch it less than twofold. Raises DistortionError as `distort` does.
    """
    rays = camera.rays(pixels)
    focal = np.array([camera.fx, camera.fy])
    for _ in range(_MAX_STEPS if is_distorted(camera) else 0):
        missed = np.asarray(pixels) - distort(rays, camera)
        if not (np.abs(missed) > _TOLERANCE_PX).any():
            break
        rays[:, :2] += missed / focal
    reached = np.abs(np.asarray(pixels) - distort(rays, camera)).max(axis=-1) <= 1e-2
    return np.where(reached[:, None], rays, np.nan)


@lru_cache(maxsize=16)
def _reach(camera: PinholeCamera) -> float:
    """Distance from the axis, at z = 1, of the ray beyond which the polynomial turns back; infinite without a turn."""
    radius = np.tan(np.linspace(0.0, math.pi / 2, _ANGLES, endpoint=False))
    turns = np.flatnonzero(np.diff(radius * _radial_factor(radius, camera)) <= 0)
    return float(radius[turns[0]]) if len(turns) else math.inf


def _radial_factor(radius: np.ndarray, camera: PinholeCamera) -> np.ndarray:
    """What a ray's (x, y) at z = 1 is multiplied with, by its distance from the axis, for each distortion model."""
    model, k = camera.distortion_model, camera.distortion
    if model not in COEFFICIENTS:
        raise DistortionError(f"unknown distortion model {model!r}; expected one of {', '.join(COEFFICIENTS)}")
    if len(k) not in COEFFICIENTS[model]:
        expected = " or ".join(map(str, COEFFICIENTS[model]))
        raise DistortionError(f"{model} distortion has {expected} coefficients, got {len(k)}")
    if model == "equidistant":
        angle = np.arctan(radius)
        bent = angle * (1 + k[0] * angle**2 + k[1] * angle**4 + k[2] * angle**6 + k[3] * angle**8)
        return np.divide(bent, radius, out=np.ones_like(radius), where=radius > 1e-12)
    k1, k2, k3, k4, k5, k6 = *k[:2], *[*k[4:], 0.0, 0.0, 0.0, 0.0][:4]
    square = radius**2
    return (1 + square * (k1 + square * (k2 + square * k3))) / (1 + square * (k4 + square * (k5 + square * k6)))
