"""Depth images as points in the camera's optical frame, few enough to compute with.

A depth image is registered to the picture: the same lens, the same place, any number of pixels. Depth is the distance
along the optical axis (REP-118). Knows nothing of messages.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import undistort

#: Points that a depth image or a cloud is thinned to: every third pixel of a VGA image.
MAX_POINTS = 40_000


class DepthError(ValueError):
    """Depth cannot be used; the message says what was expected, what came and what to do."""


def points_from_depth(depth: np.ndarray, camera: PinholeCamera, max_points: int = MAX_POINTS) -> np.ndarray:
    """Points (N, 3) in the optical frame, metres, of a depth image (H, W): float metres or uint16 millimetres.

    A regular grid of pixels is taken; those without depth (NaN, infinite, zero or less) and those that no ray of the
    lens falls on give no point. `camera` is the picture's; the depth image may have another number of pixels over the
    same field of view. Raises DepthError for another shape or type.
    """
    if depth.ndim != 2 or depth.size == 0:
        raise DepthError(f"a depth image has the shape (height, width), got {depth.shape}")
    if not (depth.dtype == np.uint16 or np.issubdtype(depth.dtype, np.floating)):
        raise DepthError(f"depth must be floating metres or uint16 millimetres, got {depth.dtype}")
    stride = max(1, math.ceil(math.sqrt(depth.size / max_points)))
    rays = _rays(_at_size(camera, depth.shape[1], depth.shape[0]), stride)
    offset = stride // 2
    z = depth[offset::stride, offset::stride].astype(np.float64) * (0.001 if depth.dtype == np.uint16 else 1.0)
    points = z[..., None] * rays
    return points[np.isfinite(points).all(axis=-1) & (z > 0)]


def thinned(points: np.ndarray, max_points: int = MAX_POINTS) -> np.ndarray:
    """At most `max_points` of points (N, 3), spread evenly over their order; those that are not finite are left out."""
    points = points[np.isfinite(points).all(axis=-1)]
    if len(points) <= max_points:
        return points
    return points[np.arange(max_points) * len(points) // max_points]


def _at_size(camera: PinholeCamera, width: int, height: int) -> PinholeCamera:
    if not camera.has_shape_of(width, height):
        raise DepthError(f"the depth image has {width}x{height} pixels and the picture {camera.width}x{camera.height}, "
                         "another shape; give the depth that is registered to the picture (aligned_depth_to_color, "
                         "depth_registered)")
    return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


@lru_cache(maxsize=16)
def _rays(camera: PinholeCamera, stride: int) -> np.ndarray:
    """Rays (h, w, 3) with z = 1 of every `stride`-th pixel; kept for some cameras, since a lens stays the same."""
    rows, columns = (np.arange(stride // 2, n, stride) + 0.5 for n in (camera.height, camera.width))
    pixels = np.stack(np.meshgrid(columns, rows), axis=-1)
    return undistort(pixels.reshape(-1, 2), camera).reshape(pixels.shape[:2] + (3,))
