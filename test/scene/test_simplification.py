"""Meshes of fewer triangles: within the budget, near the surface, edges and colours kept."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.scene.mesh import Mesh, MeshError
from kyvo_ros.scene.simplification import simplified


def grid_box(n: int) -> Mesh:
    """The unit cube around the origin, n x n squares a side, red above and blue below."""
    line = np.linspace(-0.5, 0.5, n + 1)
    u, v = (a.ravel() for a in np.meshgrid(line, line, indexing="ij"))
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    corner = i * (n + 1) + j
    squares = np.stack([corner, corner + n + 1, corner + n + 2, corner + 1], axis=1)
    faces = np.concatenate([squares[:, [0, 1, 2]], squares[:, [0, 2, 3]]])
    vertices, all_faces = [], []
    for axis in range(3):
        for side in (-0.5, 0.5):
            part = np.roll(np.column_stack([np.full(len(u), side), u, v]), axis, axis=1)
            all_faces.append((faces if side > 0 else faces[:, ::-1]) + len(vertices) * len(u))
            vertices.append(part)
    points, index = np.unique(np.round(np.concatenate(vertices), 9), axis=0, return_inverse=True)
    colors = np.where(points[:, 2:] > 0, [255, 0, 0], [0, 0, 255])
    return Mesh(points, index.reshape(-1)[np.concatenate(all_faces)], colors)


@pytest.mark.parametrize("budget", [40, 400, 2000])
def test_a_box_stays_a_box_within_the_budget(budget: int) -> None:
    mesh = grid_box(24)
    assert mesh.is_watertight and len(mesh.faces) == 12 * 24**2
    small = simplified(mesh, budget)
    assert budget / 6 < len(small.faces) <= budget and small.is_watertight
    assert small.bounds == pytest.approx(mesh.bounds, abs=0.02), "corners and edges are where planes meet"
    distance = np.abs(np.abs(small.sample(500, np.random.default_rng(0))[0]).max(axis=1) - 0.5)
    assert distance.max() < 0.03
    assert small.colors[small.vertices[:, 2] > 0.45][:, 0].min() > 200
    assert small.face_normals[np.abs(small.face_normals).max(axis=1) > 0.9].size > 0


def test_small_meshes_stay_as_they_are_and_impossible_budgets_are_named() -> None:
    mesh = grid_box(2)
    assert simplified(mesh, len(mesh.faces)) is mesh
    with pytest.raises(MeshError, match="at least 4 triangles, got 3"):
        simplified(mesh, 3)
    apart = Mesh(np.concatenate([mesh.vertices, mesh.vertices + 10]), np.concatenate([mesh.faces, mesh.faces + len(
        mesh.vertices)]), np.concatenate([mesh.colors] * 2))
    with pytest.raises(MeshError, match="no grid makes 5 triangles"):
        simplified(apart, 5)
