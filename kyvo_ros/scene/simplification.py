"""Meshes of fewer triangles, by merging the vertices of each cell of a grid.

The one vertex of a cell lies where the planes of the cell's triangles meet, as well as they do, so that edges and flat
sides stay. It keeps the outline, not the topology: thin sheets may close up. Source: Lindstrom 2000, "Out-of-core
simplification of large polygonal models", with the finest grid that the budget allows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kyvo_ros.scene.mesh import Mesh, MeshError
from kyvo_ros.scene.types import Scene

#: The least budget with which a mesh can enclose anything.
LEAST_TRIANGLES = 4
#: Cells along the longest side, at most.
_FINEST = 256
#: Weight that draws a cell's vertex to the mean of the merged ones, against the planes' own.
_TO_THE_MEAN = 0.01


def simplified(mesh: Mesh, max_triangles: int) -> Mesh:
    """A mesh of at most so many triangles; the same one where it has no more. Raises MeshError for a budget under 4."""
    if max_triangles < LEAST_TRIANGLES:
        raise MeshError(f"a mesh needs a budget of at least {LEAST_TRIANGLES} triangles, got {max_triangles}")
    if len(mesh.faces) <= max_triangles:
        return mesh
    low, high, best = 1, _FINEST, None
    while low <= high:
        cells = (low + high) // 2
        found = _merged(mesh, cells)
        if len(found.faces) <= max_triangles:
            best, low = found, cells + 1
        else:
            high = cells - 1
    if best is None or not len(best.faces):
        raise MeshError(f"no grid makes {max_triangles} triangles or fewer of {len(mesh.faces)}; allow more")
    return best


def with_budget(scene: Scene, max_triangles: int) -> Scene:
    """The scene with meshes of at most so many triangles each. Raises MeshError for a budget under 4."""
    return replace(scene, objects=tuple(
        item if item.mesh is None else replace(item, mesh=simplified(item.mesh, max_triangles))
        for item in scene.objects))


def _merged(mesh: Mesh, cells: int) -> Mesh:
    """One vertex for each of so many cells along the longest side."""
    low, high = mesh.bounds
    edge = (high - low).max() / cells
    index = np.minimum(((mesh.vertices - low) / edge).astype(np.int64), cells - 1)
    _, cell = np.unique(np.ravel_multi_index(index.T, (cells,) * 3), return_inverse=True)
    cell = cell.reshape(-1)
    count = np.bincount(cell)
    means = _summed(mesh.vertices, cell) / count[:, None]
    colors = _summed(mesh.colors.astype(float), cell) / count[:, None]
    faces = cell[mesh.faces]
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    vertices = means + np.clip(_to_the_planes(mesh, faces, means), -edge, edge)
    return Mesh(vertices, _without_doubles(faces[kept]), np.round(colors))


def _summed(rows: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(cells, C) sums of rows (N, C) by their cell."""
    return np.stack([np.bincount(cell, column) for column in rows.T], axis=1)


def _to_the_planes(mesh: Mesh, faces: np.ndarray, means: np.ndarray) -> np.ndarray:
    """(cells, 3) from the means towards where the planes of the triangles with a corner in each cell meet."""
    normals, weight = mesh.face_normals, mesh.face_areas_m2
    corner, owner = faces.reshape(-1), np.repeat(np.arange(len(faces)), 3)
    apart = np.einsum("nd,nd->n", normals[owner], mesh.triangles[owner, 0] - means[corner])
    outer = (normals[:, :, None] * normals[:, None] * weight[:, None, None]).reshape(-1, 9)
    sums = np.zeros((len(means), 12))
    found = _summed(np.column_stack([outer[owner], (normals * weight[:, None])[owner] * apart[:, None]]), corner)
    sums[:len(found)] = found
    quadrics, pull = sums[:, :9].reshape(-1, 3, 3), sums[:, 9:]
    trace = np.trace(quadrics, axis1=1, axis2=2)
    quadrics = quadrics + (_TO_THE_MEAN * trace + 1e-300)[:, None, None] * np.eye(3)
    return np.linalg.solve(quadrics, pull[..., None])[..., 0]


def _without_doubles(faces: np.ndarray) -> np.ndarray:
    """Of faces of the same three corners, in the same sense, one."""
    first = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    return np.unique(np.take_along_axis(faces, first, axis=1), axis=0)  # the least corner first
