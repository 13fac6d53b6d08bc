"""What a camera shows: whether points, and whole objects, fall into its image."""

from __future__ import annotations

import numpy as np

from kyvo_ros.scene.camera import CameraView
from kyvo_ros.scene.distortion import distort
from kyvo_ros.scene.types import SceneObject


def is_seen(points_m: np.ndarray, view: CameraView) -> bool:
    """Whether all points (N, 3) of the support-plane frame fall into a view's raw image."""
    camera = view.intrinsics
    pixels = distort(view.plane_T_optical().inverse().apply(points_m), camera)
    return bool(((pixels >= 0) & (pixels <= (camera.width, camera.height))).all())  # NaN compares as outside


def is_wholly_seen(item: SceneObject, view: CameraView) -> bool:
    """Whether the box of an object of PLANE_FRAME does; its centre, where its size is unknown."""
    return is_seen(item.position_m[None] if item.size_m is None else item.box_corners_m(), view)
