"""Closed surfaces of which objects are built: lathe, sweep, rounded box, superquadric, prism.

All are watertight, face outwards, and have many small faces, so that colours at vertices can carry patterns. Units are
the caller's. Nothing is cut out of anything: hollow things have profiles with walls.
"""

from __future__ import annotations

import numpy as np

from kyvo_ros.scene.mesh import Mesh

GRAY = (128, 128, 128)


def lathe(profile: np.ndarray, segments: int = 48, spacing: float = 0.04) -> Mesh:
    """Turn a profile (P, 2) of radius and height around z.

    The profile runs from the bottom outwards and up. One that begins and ends on the axis gives a solid, one that ends
    where it begins a ring. Raises ValueError for any other.
    """
    profile = _resampled(np.asarray(profile, float), spacing)
    ring = np.allclose(profile[0], profile[-1]) and profile[0, 0] > 0
    if not ring and (profile[0, 0] != 0 or profile[-1, 0] != 0):
        raise ValueError(f"a profile must begin and end on the axis or at one point, got {profile[0]}, {profile[-1]}")
    rows = profile[:-1] if ring else profile[1:-1]
    angle = np.arange(segments) * 2 * np.pi / segments
    vertices = np.stack([rows[:, :1] * np.cos(angle), rows[:, :1] * np.sin(angle),
                         np.repeat(rows[:, 1:], segments, axis=1)], axis=-1).reshape(-1, 3)
    if ring:
        return _painted(vertices, _tube_faces(len(rows), segments, closed=True))
    ends = np.array([[0, 0, profile[0, 1]], [0, 0, profile[-1, 1]]])
    return _painted(np.concatenate([vertices, ends]), _capped_faces(len(rows), segments))


def sweep(path: np.ndarray, radius: np.ndarray | float, segments: int = 20, flatness: float = 1.0,
          closed: bool = False) -> Mesh:
    """A tube along a path (P, 3) with a radius at each point; `flatness` is its width along the binormal over that
    along the normal. A closed path is given without its first point again.
    """
    path = np.asarray(path, float)
    radius = np.broadcast_to(np.asarray(radius, float), len(path))
    normal, binormal = _frames(path, closed)
    angle = np.arange(segments) * 2 * np.pi / segments
    circle = (np.cos(angle)[None, :, None] * normal[:, None] + flatness * np.sin(angle)[None, :, None]
              * binormal[:, None])
    vertices = (path[:, None] + radius[:, None, None] * circle).reshape(-1, 3)
    if closed:
        return _painted(vertices, _tube_faces(len(path), segments, closed=True))
    return _painted(np.concatenate([vertices, path[[0, -1]]]), _capped_faces(len(path), segments))


def rounded_box(size: tuple[float, float, float], rounding: float = 0.0, cells: int = 9) -> Mesh:
    """A box around the origin whose edges are rounded with a radius; `cells` (odd) a side."""
    directions, faces = _cube_sphere(cells | 1)
    half = np.asarray(size, float) / 2
    rounding = min(rounding, half.min())
    surface = directions / np.abs(directions).max(axis=1, keepdims=True) * half
    core = np.clip(surface, rounding - half, half - rounding)
    away = surface - core
    length = np.linalg.norm(away, axis=1, keepdims=True)
    return _painted(core + np.where(length > 0, rounding * away / np.maximum(length, 1e-12), 0), faces)


def superquadric(size: tuple[float, float, float], exponent: float = 1.0, cells: int = 15) -> Mesh:
    """|x|^p + |y|^p + |z|^p = 1 with p = 2 / exponent, stretched to a size: 1 is an ellipsoid, 2 an octahedron."""
    directions, faces = _cube_sphere(cells)
    power = 2.0 / exponent
    length = (np.abs(directions) ** power).sum(axis=1, keepdims=True) ** (1 / power)
    return _painted(directions / length * np.asarray(size, float) / 2, faces)


def prism(outline: np.ndarray, height: float, hole: np.ndarray | None = None, spacing: float = 0.05) -> Mesh:
    """A plate from z = 0 to `height`. Outline (P, 2) is counter-clockwise and seen whole from its origin; a hole has
    as many points, each on the way from the origin to the outline's.
    """
    outline = np.asarray(outline, float)
    layers = max(2, int(np.ceil(height / spacing)) + 1)
    levels = np.linspace(0, height, layers)
    shares = np.linspace(0, 1, 6)[1:-1]
    inner = np.zeros_like(outline) if hole is None else np.asarray(hole, float)
    flat = [inner + share * (outline - inner) for share in shares]
    rings = [(ring, 0.0) for ring in flat] + [(outline, z) for z in levels] + [(ring, height) for ring in flat[::-1]]
    if hole is not None:
        rings += [(inner, z) for z in levels[::-1]]
    vertices = np.concatenate([np.column_stack([ring, np.full(len(ring), z)]) for ring, z in rings])
    if hole is not None:
        return _painted(vertices, _tube_faces(len(rings), len(outline), closed=True))
    return _painted(np.concatenate([vertices, [[0, 0, 0], [0, 0, height]]]), _capped_faces(len(rings), len(outline)))


def circle(radius: float, points: int = 48) -> np.ndarray:
    """(points, 2) counter-clockwise."""
    angle = np.arange(points) * 2 * np.pi / points
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def arc(radius: float, start_rad: float, end_rad: float, points: int = 24) -> np.ndarray:
    """(points, 2) from one angle to another."""
    angle = np.linspace(start_rad, end_rad, points)
    return radius * np.column_stack([np.cos(angle), np.sin(angle)])


def _painted(vertices: np.ndarray, faces: np.ndarray) -> Mesh:
    return Mesh(vertices, faces, np.full((len(vertices), 3), GRAY, np.uint8))


def _resampled(line: np.ndarray, spacing: float) -> np.ndarray:
    """The corners of a polyline (P, 2) and points between them, at most `spacing` apart."""
    parts = [np.linspace(a, b, max(1, int(np.ceil(np.linalg.norm(b - a) / spacing))), endpoint=False)
             for a, b in zip(line[:-1], line[1:]) if not np.array_equal(a, b)]
    return np.concatenate([*parts, line[-1:]])


def _tube_faces(rows: int, segments: int, closed: bool) -> np.ndarray:
    """Faces between rows of `segments` vertices; with the rows going up, they face away from the axis."""
    i, j = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(segments), indexing="ij")
    k, right = (i + 1) % rows, (j + 1) % segments
    a, b, c, d = (row * segments + column for row, column in ((i, j), (i, right), (k, right), (k, j)))
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _capped_faces(rows: int, segments: int) -> np.ndarray:
    """A tube and two fans to the vertices that follow the rows."""
    j = np.arange(segments)
    right, top = (j + 1) % segments, (rows - 1) * segments
    first = np.column_stack([np.full(segments, rows * segments), right, j])
    last = np.column_stack([np.full(segments, rows * segments + 1), top + j, top + right])
    return np.concatenate([_tube_faces(rows, segments, closed=False), first, last])


def _frames(path: np.ndarray, closed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Normal and binormal (P, 3) that turn as little as possible along a path."""
    if closed:
        tangent = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0)
    else:
        tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.zeros_like(path)
    start = np.eye(3)[np.abs(tangent[0]).argmin()]
    for i, along in enumerate(tangent):
        start = start - along * (along @ start)
        start /= np.linalg.norm(start)
        normal[i] = start
    return normal, np.cross(tangent, normal)


def _cube_sphere(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions (V, 3) through an even grid on a cube's faces, and faces (F, 3) that share vertices."""
    line = np.arange(cells + 1)
    u, v = (grid.reshape(-1) for grid in np.meshgrid(line, line, indexing="ij"))
    quads = np.array([[i * (cells + 1) + j, (i + 1) * (cells + 1) + j, (i + 1) * (cells + 1) + j + 1,
                       i * (cells + 1) + j + 1] for i in range(cells) for j in range(cells)])
    points, faces = [], []
    for axis in range(3):
        for side in (0, cells):
            grid = np.empty((len(u), 3), int)
            grid[:, axis], grid[:, (axis + 1) % 3], grid[:, (axis + 2) % 3] = side, u, v
            triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]) + len(u) * len(points)
            points.append(grid)
            faces.append(triangles if side else triangles[:, ::-1])
    corners, index = np.unique(np.concatenate(points), axis=0, return_inverse=True)
    centred = 2 * corners / cells - 1
    return centred / np.linalg.norm(centred, axis=1, keepdims=True), index.reshape(-1)[np.concatenate(faces)]
