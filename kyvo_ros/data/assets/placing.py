"""Parts of an object where they belong: moved, turned, copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from kyvo_ros.scene.mesh import Mesh


def moved(mesh: Mesh, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Mesh:
    return mesh.with_vertices(mesh.vertices + (x, y, z))


def turned(mesh: Mesh, axis: str, angle_deg: float) -> Mesh:
    """Turned about an axis of the origin, `x`, `y` or `z`."""
    return mesh.with_vertices(Rotation.from_euler(axis, angle_deg, degrees=True).apply(mesh.vertices))


def around(mesh: Mesh, copies: int) -> list[Mesh]:
    """Copies turned evenly about z."""
    return [turned(mesh, "z", 360.0 * i / copies) for i in range(copies)]


def at_each(mesh: Mesh, places: Sequence[tuple[float, float, float]]) -> list[Mesh]:
    return [moved(mesh, *place) for place in places]


def at_corners(mesh: Mesh, x: float, y: float, z: float = 0.0) -> list[Mesh]:
    """Copies at (+-x, +-y, z)."""
    return at_each(mesh, [(i * x, j * y, z) for i in (-1, 1) for j in (-1, 1)])
