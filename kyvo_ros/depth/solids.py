"""Solids that stand on the support plane, as few numbers each: how far points are from their surface, and what a scene
says of them.

A sphere, an upright cylinder, and a cube; x, y in the support-plane frame, z up from the plane. Distances are signed
(negative inside) and exact outside.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kyvo_ros.scene import SceneObject


class Sphere:
    """x, y, radius."""

    lengths = (2,)  # which of the numbers are lengths of the object itself
    angles = ()
    centre = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])  # (3, P) from the numbers

    def numbers(self, item: SceneObject) -> np.ndarray:
        """(P,) of an object with a size. Inverse of `size_m`, for lengths."""
        return np.array([*item.position_m[:2], item.size_m.mean() / 2])

    def size_m(self, numbers: np.ndarray) -> np.ndarray:
        """(3,) full extents."""
        return np.full(3, 2 * numbers[2])

    def distances_m(self, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(N,) of points (N, 3) from the surface."""
        return np.linalg.norm(points - self.centre @ numbers, axis=-1) - numbers[2]


class Cylinder:
    """x, y, radius, height."""

    lengths = (2, 3)
    angles = ()
    centre = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5]])

    def numbers(self, item: SceneObject) -> np.ndarray:
        """As Sphere.numbers."""
        return np.array([*item.position_m[:2], item.size_m[:2].mean() / 2, item.size_m[2]])

    def size_m(self, numbers: np.ndarray) -> np.ndarray:
        """(3,) full extents."""
        return np.array([2 * numbers[2], 2 * numbers[2], numbers[3]])

    def distances_m(self, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(N,) of points (N, 3) from the surface."""
        apart = points - self.centre @ numbers
        beyond = [np.hypot(apart[:, 0], apart[:, 1]) - numbers[2], np.abs(apart[:, 2]) - numbers[3] / 2]
        return _beyond_slabs(np.stack(beyond, axis=-1))


class Cube:
    """x, y, edge, yaw."""

    lengths = (2,)
    angles = (3,)
    centre = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]])

    def numbers(self, item: SceneObject) -> np.ndarray:
        """As Sphere.numbers."""
        return np.array([*item.position_m[:2], item.size_m.mean(), item.yaw_rad or 0.0])

    def size_m(self, numbers: np.ndarray) -> np.ndarray:
        """(3,) full extents."""
        return np.full(3, numbers[2])

    def distances_m(self, numbers: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(N,) of points (N, 3) from the surface."""
        apart = points - self.centre @ numbers
        c, s = np.cos(numbers[3]), np.sin(numbers[3])
        own = np.stack([c * apart[:, 0] + s * apart[:, 1], c * apart[:, 1] - s * apart[:, 0], apart[:, 2]], axis=-1)
        return _beyond_slabs(np.abs(own) - numbers[2] / 2)


Solid = Sphere | Cylinder | Cube

#: The word for a shape -> how its points are read.
SOLIDS: Mapping[str, Solid] = {"sphere": Sphere(), "cylinder": Cylinder(), "cube": Cube()}


def _beyond_slabs(beyond: np.ndarray) -> np.ndarray:
    """Signed distance (N,) from how far points are beyond each pair of faces, (N, F)."""
    return np.linalg.norm(np.maximum(beyond, 0.0), axis=-1) + np.minimum(beyond.max(axis=-1), 0.0)
