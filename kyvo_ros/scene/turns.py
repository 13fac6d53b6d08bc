"""Turns of a camera about its optical centre: where the turned camera stands over the plane, and its frame there.

A camera that only turns sees the same rays elsewhere, so its image is a homography of the original and needs no depth;
the support-plane frame, which is tied to the optical axis, moves with it.
"""

from __future__ import annotations

import math

import numpy as np

from kyvo_ros.scene.camera import CameraView, view_from_pose
from kyvo_ros.scene.transforms import Transform


def turn_transform(pan_rad: float, tilt_rad: float) -> Transform:
    """`optical_T_turned`: a pan to the right about y, after a tilt down about x."""
    pan = np.array([[math.cos(pan_rad), 0, math.sin(pan_rad)], [0, 1, 0], [-math.sin(pan_rad), 0, math.cos(pan_rad)]])
    c, s = math.cos(-tilt_rad), math.sin(-tilt_rad)
    return Transform(pan @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), np.zeros(3))


def turned_view(view: CameraView, turn: Transform) -> CameraView:
    """The view after the camera has turned by `optical_T_turned`; both know their world. Its roll need not be zero."""
    world_T_turned = view.world_T_plane @ view.plane_T_optical() @ turn
    return view_from_pose(view.intrinsics, world_T_turned, float(view.world_T_plane.translation[2]))


def levelled(view: CameraView, turn: Transform, turned: CameraView) -> Transform:
    """`optical_T_level`: from the optical frame of `view` to that of `turned` without its roll."""
    return Transform(turn.rotation @ turned.plane_T_optical().rotation.T @ turned.plane.plane_T_optical().rotation,
                     np.zeros(3))
