"""The support plane in a frame of which z is up, although calibration and robot lean a little."""

from __future__ import annotations

import math

import numpy as np

from kyvo_ros.scene.memory.config import MemoryInputError
from kyvo_ros.scene.transforms import Transform

#: Lean that errors of calibration and a robot that pitches explain; with more, another frame was meant.
MAX_LEAN_RAD = math.radians(10.0)


def upright(frame_T_plane: Transform, frame_id: str) -> Transform:
    """The pose of a support plane with its lean taken out: the origin stays, and so does the direction of y.

    Raises MemoryInputError where the plane leans by more than MAX_LEAN_RAD in the frame `frame_id`.
    """
    rotation = frame_T_plane.rotation
    lean_rad = math.acos(float(np.clip(rotation[2, 2], -1.0, 1.0)))
    if lean_rad > MAX_LEAN_RAD:
        raise MemoryInputError(
            f"the support plane leans by {math.degrees(lean_rad):.1f} degrees in frame '{frame_id}', more than "
            f"{math.degrees(MAX_LEAN_RAD):.0f}; name a frame with z up, such as map or odom, and check the camera's "
            "pose")
    return Transform.from_yaw(math.atan2(-rotation[0, 1], rotation[1, 1]), frame_T_plane.translation)
