"""A triangle mesh with a colour at every vertex, and points drawn from its surface. Knows no file formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


class MeshError(ValueError):
    """A mesh cannot be used; the message says what is wrong with it and what to do."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Faces turn counter-clockwise seen from outside. Parts may overlap: inside is where any of them is.

    Raises MeshError where arrays do not fit each other, a face names no vertex, or a coordinate is not finite.
    """

    vertices: np.ndarray  # (V, 3) float64, metres in the object's frame, z up
    faces: np.ndarray  # (F, 3) int64 vertex indices
    colors: np.ndarray  # (V, 3) uint8 RGB

    def __post_init__(self) -> None:
        for name, dtype in (("vertices", np.float64), ("faces", np.int64), ("colors", np.uint8)):
            array = np.asarray(getattr(self, name), dtype)
            if array.ndim != 2 or array.shape[1] != 3:
                raise MeshError(f"{name} must have shape (N, 3), got {array.shape}")
            object.__setattr__(self, name, array)
        if len(self.colors) != len(self.vertices):
            raise MeshError(f"expected a colour for each of {len(self.vertices)} vertices, got {len(self.colors)}")
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise MeshError(f"faces must name vertices 0 to {len(self.vertices) - 1}, got "
                            f"{self.faces.min()} to {self.faces.max()}")
        if not np.isfinite(self.vertices).all():
            raise MeshError("vertices must be finite numbers")

    @property
    def bounds(self) -> np.ndarray:
        """(2, 3) lowest and highest corner of the vertices that faces use. Raises MeshError without faces."""
        if not len(self.faces):
            raise MeshError("a mesh without faces has no bounds")
        corners = self.vertices[self.faces.reshape(-1)]
        return np.stack([corners.min(axis=0), corners.max(axis=0)])

    @property
    def diagonal_m(self) -> float:
        """Length of the diagonal of the bounding box."""
        low, high = self.bounds
        return float(np.linalg.norm(high - low))

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3, 3) corners of every face."""
        return self.vertices[self.faces]

    @cached_property
    def _area_vectors(self) -> np.ndarray:
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        return np.cross(b - a, c - a) / 2

    @property
    def face_areas_m2(self) -> np.ndarray:
        """(F,) areas."""
        return np.linalg.norm(self._area_vectors, axis=1)

    @property
    def face_normals(self) -> np.ndarray:
        """(F, 3) unit normals; zero for faces without area."""
        return self._area_vectors / np.maximum(self.face_areas_m2, 1e-300)[:, None]

    @property
    def is_watertight(self) -> bool:
        """Whether every edge belongs to two faces that pass it in opposite directions."""
        edges = self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        key = edges[:, 0] * len(self.vertices) + edges[:, 1]
        back = edges[:, 1] * len(self.vertices) + edges[:, 0]
        return len(key) > 0 and np.array_equal(np.sort(key), np.sort(back))

    def with_vertices(self, vertices: np.ndarray) -> Mesh:
        """The same faces and colours elsewhere."""
        return Mesh(vertices, self.faces, self.colors)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (count, 3) spread evenly over the surface, their normals (count, 3) and colours (count, 3) in [0, 1].

        Raises MeshError where the surface has no area.
        """
        areas = self.face_areas_m2
        if not areas.sum() > 0:
            raise MeshError("the mesh has no surface to draw points from")
        chosen = rng.choice(len(areas), size=count, p=areas / areas.sum())
        weights = barycentric(rng.random((count, 2)))
        points = np.einsum("nk,nkd->nd", weights, self.triangles[chosen])
        colors = np.einsum("nk,nkd->nd", weights, self.colors[self.faces[chosen]] / 255.0)
        return points, self.face_normals[chosen], colors


def barycentric(square: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the unit square to weights (N, 3) of a triangle's corners, even where the points are even."""
    folded = np.where(square.sum(axis=1, keepdims=True) > 1, 1 - square, square)
    return np.column_stack([folded, 1 - folded.sum(axis=1)])


def joined(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of several; where they overlap, both surfaces stay. Raises MeshError for none."""
    if not parts:
        raise MeshError("expected at least one part")
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Mesh(np.concatenate([part.vertices for part in parts]),
                np.concatenate([part.faces + offset for part, offset in zip(parts, offsets)]),
                np.concatenate([part.colors for part in parts]))
