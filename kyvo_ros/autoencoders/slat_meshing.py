"""Slat to mesh: marching cubes on the signed distance, colours of the nearest voxels at the vertices."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes

from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, CubeFrame, Slat, SlatError, to_grid
from kyvo_ros.scene.mesh import Mesh


def decode_slat(slat: Slat) -> Mesh:
    """The mesh of a slat; inverse of `slat_encoding.encode_slat` as far as the voxels resolve it. Raises SlatError."""
    return mesh_of_grid(to_grid(slat), slat.frame)


def mesh_of_grid(grid: np.ndarray, frame: CubeFrame) -> Mesh:
    """The surface of features (8, R, R, R), watertight. Raises SlatError where nothing is inside."""
    distance = grid[DISTANCE]
    if not (distance < 0).any():
        raise SlatError("the slat encloses nothing: no voxel has a negative distance")
    # A layer of outside around the grid closes what touches its border. A zero, exactly on a voxel's centre, would
    # collapse triangles and tear the surface.
    padded = np.pad(np.where(np.abs(distance) < 1e-4, 1e-4, distance), 1, constant_values=1.0)
    vertices, faces, _, _ = marching_cubes(padded, 0.0, gradient_direction="descent", allow_degenerate=True)
    vertices = vertices.astype(np.float64) - 1
    return Mesh(frame.from_grid(vertices, grid.shape[-1]), faces, _colors_at(grid, vertices))


def _colors_at(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(V, 3) uint8 at points in voxel indices: the mean of the active voxels around them, by nearness."""
    active = (np.abs(grid[DISTANCE]) < 1).astype(np.float32)
    weight = ndimage.map_coordinates(active, points.T, order=1, mode="nearest")
    sums = [ndimage.map_coordinates(channel * active, points.T, order=1, mode="nearest") for channel in grid[COLOR]]
    colors = np.stack(sums, axis=1) / np.maximum(weight, 1e-6)[:, None]
    return np.round(255 * colors.clip(0, 1)).astype(np.uint8)
