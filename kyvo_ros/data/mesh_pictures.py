"""Pictures of meshes without a graphics library: dense points of the surface, nearest in front, lit from above.

For people to look at; training sees shapes through `autoencoders.volume_renderer`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from kyvo_ros.scene import Scene
from kyvo_ros.scene.mesh import Mesh, joined

BACKGROUND_RGB = 245
_POINTS_A_PIXEL = 14
_LIGHT = np.array([0.35, -0.55, 0.76])


def mesh_picture(mesh: Mesh, size_px: int = 96, azimuth_deg: float = -55.0, elevation_deg: float = 25.0) -> np.ndarray:
    """(size, size, 3) uint8 RGB: the whole mesh in parallel projection, from a direction around z. Raises MeshError."""
    points, normals, colors = mesh.sample(_POINTS_A_PIXEL * size_px**2, np.random.default_rng(0))
    right, up, towards = view_axes(azimuth_deg, elevation_deg)
    centred = (points - mesh.bounds.mean(axis=0)) / mesh.diagonal_m
    columns = ((0.5 + centred @ right) * size_px).astype(int).clip(0, size_px - 1)
    rows = ((0.5 - centred @ up) * size_px).astype(int).clip(0, size_px - 1)
    order = np.argsort(centred @ towards)  # the last one written is the nearest
    lit = colors * (0.45 + 0.55 * np.clip(normals @ _LIGHT, 0, 1))[:, None]
    picture = np.full((size_px, size_px, 3), BACKGROUND_RGB, np.uint8)
    picture[rows[order], columns[order]] = np.round(255 * lit[order])
    return picture


def turntable(scene: Scene, views: int = 8, size_px: int = 192) -> np.ndarray:
    """(rows * size, columns * size, 3) uint8 RGB: the meshes of a scene from so many directions around it.

    Raises MeshError where it has none.
    """
    whole = joined([mesh for mesh in (item.placed_mesh() for item in scene.objects) if mesh is not None])
    turns = [mesh_picture(whole, size_px, -90.0 + 360.0 * i / views, 30.0) for i in range(views)]
    return sheet(turns, min(views, 4))


def view_axes(azimuth_deg: float, elevation_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of a picture: right, up, and towards the viewer, who stands in the direction of the angles."""
    azimuth, elevation = np.radians([azimuth_deg, elevation_deg])
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    return right, np.cross(towards, right), towards


def sheet(pictures: Sequence[np.ndarray], columns: int, labels: Sequence[str] = ()) -> np.ndarray:
    """Pictures of one size side by side, row after row, each with its label at the top."""
    pictures = [picture.copy() for picture in pictures]
    for picture, label in zip(pictures, labels):
        cv2.putText(picture, label, (3, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (60, 60, 60), 1, cv2.LINE_AA)
    blank = np.full_like(pictures[0], BACKGROUND_RGB)
    pictures += [blank] * (-len(pictures) % columns)
    return np.concatenate([np.concatenate(pictures[i:i + columns], axis=1) for i in range(0, len(pictures), columns)])
