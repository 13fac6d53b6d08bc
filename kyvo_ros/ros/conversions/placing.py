"""Poses of a scene's objects in the frame that is published.

A scene stands in the support-plane frame, where a yaw is enough; in an optical frame poses are full rotations. Sizes
belong to the object's own axes and never change. Numpy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kyvo_ros.scene import Scene, SceneObject, Transform

#: Variance of a yaw that the image does not show: uniform over the circle, rad^2.
UNKNOWN_YAW_VARIANCE = math.pi ** 2 / 3


@dataclass(frozen=True, eq=False)
class PlacedObject:
    """An object with its pose in the published frame."""

    object: SceneObject
    position_m: np.ndarray  # (3,)
    quaternion_xyzw: np.ndarray  # (4,) of the object's axes; its z is the plane's normal
    covariance: np.ndarray  # (6, 6) over x, y, z and rotations about x, y, z of the published frame; zero: unknown

    def up(self) -> np.ndarray:
        """The object's z axis (3,), the plane's normal, in the published frame."""
        x, y, z, w = self.quaternion_xyzw.tolist()
        return np.array([2 * (x * z + y * w), 2 * (y * z - x * w), 1 - 2 * (x * x + y * y)])


def place(scene: Scene, frame_T_scene: Transform) -> list[PlacedObject]:
    """The objects of `scene` in the frame that `frame_T_scene` leads to."""
    turn = frame_T_scene.quaternion().tolist()
    positions_m = frame_T_scene.apply(scene.positions_m())
    return [PlacedObject(item, position_m, _turned(turn, item.yaw_rad or 0.0), _covariance(item, frame_T_scene))
            for item, position_m in zip(scene.objects, positions_m)]


def _turned(quaternion: list[float], yaw_rad: float) -> np.ndarray:
    """The rotation `quaternion` (x, y, z, w) after a turn by `yaw_rad` about z."""
    x, y, z, w = quaternion
    s, c = math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)
    return np.array([x * c + y * s, y * c - x * s, z * c + w * s, w * c - z * s])


def _covariance(item: SceneObject, frame_T_scene: Transform) -> np.ndarray:
    covariance = np.zeros((6, 6))
    if item.position_covariance_m2 is None:
        return covariance
    covariance[:3, :3] = frame_T_scene.rotate_covariance(item.position_covariance_m2)
    if item.yaw_rad is None:
        normal = frame_T_scene.rotation[:, 2]
        covariance[3:, 3:] = UNKNOWN_YAW_VARIANCE * np.outer(normal, normal)
    return covariance
