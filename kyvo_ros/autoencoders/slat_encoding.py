"""Mesh to slat: distances to the surface, which side is inside, normals and colours at the voxels, in numpy and scipy.

Inside is where the mean winding number of six axis-parallel rays is over a half: exact for closed surfaces, also
for parts that overlap, and it closes holes in others. A surface that encloses next to nothing (a sheet) becomes a
shell.
"""

from __future__ import annotations

import logging

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from kyvo_ros.autoencoders.slats import FEATURES, RESOLUTION, TRUNCATION, CubeFrame, Slat
from kyvo_ros.scene.mesh import Mesh, MeshError, barycentric

log = logging.getLogger(__name__)

#: Points of the surface for every voxel^2, among which the nearest faces are found.
_DENSITY = 6.0
_MOST_POINTS = 1_500_000
#: Of points in one cell, so many along each side of a voxel, the first is enough.
_CELLS = 6
#: Nearest points whose faces are tried; the exact distance decides between them.
_CANDIDATES = 3
#: Half the thickness in voxels of the shell that an open sheet becomes.
SHELL = 0.8
#: Voxels of distance under which the face's normal is surer than the direction to the nearest point.
_TOO_NEAR = 0.2
#: Share of the voxels at the surface that must be inside; solids have about a half.
_LEAST_INSIDE = 0.12
#: Edge of the box of voxels over which openness is counted.
_OPENNESS_BOX = 9
#: Pairs of face and grid line that are looked at together.
_CHUNK = 4_000_000
_PIXEL_STEP = 1e-4  # moves grid lines off the corners and edges that lie exactly on them


def encode_slat(mesh: Mesh, resolution: int = RESOLUTION, frame: CubeFrame | None = None) -> Slat:
    """The slat of a mesh, by default in the smallest cube around it; inverse of `slat_meshing.decode_slat`.

    Raises MeshError where the mesh is empty or a point.
    """
    frame = CubeFrame.around(mesh.bounds, resolution) if frame is None else frame
    triangles = frame.to_grid(mesh.triangles, resolution)
    inside = inside_grid(triangles, resolution)
    coords, distance, points, faces = _near_surface(mesh, triangles, inside)
    within = inside[tuple(coords.T)]
    at_surface = distance < 0.75
    if at_surface.any() and within[at_surface].mean() < _LEAST_INSIDE:
        log.info("the mesh encloses next to nothing; it becomes a shell of %.1f voxels", 2 * SHELL)
        signed, inside = distance - SHELL, np.zeros_like(inside)
        inside[tuple(coords.T)] = signed < 0
    else:
        signed = np.where(within, -distance, distance)
    active = np.abs(signed) < TRUNCATION
    coords, signed, points, faces = (v[active] for v in (coords, signed, points, faces))
    if not len(coords):
        raise MeshError("no voxel lies near the surface")
    feats = np.empty((len(coords), len(FEATURES)), np.float32)
    feats[:, 0] = signed / TRUNCATION
    feats[:, 1:4] = _directions(mesh, coords, points, faces, signed)
    feats[:, 4:7] = _colors(mesh, triangles, points, faces)
    feats[:, 7] = 1 - ndimage.uniform_filter(inside.astype(np.float32), _OPENNESS_BOX, mode="constant")[tuple(coords.T)]
    return Slat(coords, feats, frame, resolution)


def occupancy(mesh: Mesh, frame: CubeFrame, resolution: int = RESOLUTION) -> np.ndarray:
    """(R, R, R) bool: which voxel centres of a cube lie inside the mesh."""
    return inside_grid(frame.to_grid(mesh.triangles, resolution), resolution)


def inside_grid(triangles: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, R) bool for triangles (F, 3, 3) in voxel indices."""
    total = np.zeros((resolution,) * 3, np.float32)
    for axis in range(3):
        order = [(axis + 1) % 3, (axis + 2) % 3, axis]
        below = _windings(triangles[:, :, order], resolution)
        whole = below[..., -1:]  # not zero only where the surface has holes
        total += np.moveaxis(below - whole / 2, (0, 1, 2), order)
    return np.abs(total / 3) > 0.5


def _windings(triangles: np.ndarray, resolution: int) -> np.ndarray:
    """(R, R, R) float32: signed crossings of the surface below each voxel centre, along the last axis.

    A face that looks down is entered, one that looks up is left.
    """
    crossings = np.zeros((resolution, resolution, resolution + 1), np.float32)
    low = np.ceil(triangles[..., :2].min(axis=1) - _PIXEL_STEP).clip(0, resolution).astype(int)
    high = np.floor(triangles[..., :2].max(axis=1) - _PIXEL_STEP).clip(-1, resolution - 1).astype(int)
    counts = np.maximum(high - low + 1, 0)
    lines = counts.prod(axis=1)
    for chosen in _chunks(lines):
        face = np.repeat(chosen, lines[chosen])
        number = np.arange(len(face)) - np.repeat(np.cumsum(lines[chosen]) - lines[chosen], lines[chosen])
        x, y = low[face, 0] + number // counts[face, 1], low[face, 1] + number % counts[face, 1]
        sign, z = _crossing(triangles[face], np.column_stack([x, y]) + _PIXEL_STEP * np.array([1.0, 0.73]))
        hit = sign != 0
        above = np.ceil(z[hit]).clip(0, resolution).astype(int)
        np.add.at(crossings, (x[hit], y[hit], above), sign[hit])
    return np.cumsum(crossings, axis=2)[..., :resolution]


def _crossing(triangles: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For pairs of triangle (N, 3, 3) and vertical line at (N, 2): 1, -1 or 0 (none), and the height."""
    a, b, c = (triangles[:, k] for k in range(3))
    to = [corner[:, :2] - points for corner in (a, b, c)]
    u, v, w = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((to[1], to[2]), (to[2], to[0]), (to[0], to[1])))
    area = u + v + w
    inside = ((u > 0) & (v > 0) & (w > 0)) | ((u < 0) & (v < 0) & (w < 0))
    height = (u * a[:, 2] + v * b[:, 2] + w * c[:, 2]) / np.where(area == 0, 1, area)
    return np.where(inside, -np.sign(area), 0), height


def _near_surface(mesh: Mesh, triangles: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, ...]:
    """Voxels (N, 3) near the surface, their distances (N,) in voxels, nearest points (N, 3) and faces (N,).

    Surfaces within the solid, where parts overlap, do not count.
    """
    samples, owner = _surface_points(triangles)
    voxels = np.round(samples).clip(0, len(inside) - 1).astype(int)
    shown = np.flatnonzero(~ndimage.binary_erosion(inside, np.ones((3, 3, 3)))[tuple(voxels.T)])
    cells = np.round(samples[shown] * _CELLS).astype(np.int64) @ (_CELLS * len(inside) + 1) ** np.arange(3)
    kept = shown[np.unique(cells, return_index=True)[1]]
    samples, owner, voxels = samples[kept], owner[kept], voxels[kept]
    marked = np.zeros_like(inside)
    marked[tuple(voxels.T)] = True
    reach = int(np.ceil(TRUNCATION + SHELL))
    ball = np.linalg.norm(np.indices((2 * reach + 1,) * 3) - reach, axis=0) <= TRUNCATION + SHELL + 0.5
    coords = np.argwhere(ndimage.binary_dilation(marked, ball))
    tree = cKDTree(samples, balanced_tree=False)
    rough, nearest = tree.query(coords, k=_CANDIDATES)
    close = rough[:, 0] < TRUNCATION + SHELL + 1
    coords, candidates = coords[close], owner[nearest[close]]
    best = np.full(len(coords), np.inf)
    points, faces = np.zeros((len(coords), 3)), np.zeros(len(coords), int)
    for k in range(_CANDIDATES):
        found = closest_points(triangles[candidates[:, k]], coords)
        length = np.linalg.norm(found - coords, axis=1)
        better = length < best
        best[better], points[better], faces[better] = length[better], found[better], candidates[better, k]
    near = np.zeros_like(inside)
    near[tuple(coords[best < TRUNCATION].T)] = True
    lids = np.argwhere(_borders(inside) & ~near)
    if len(lids):  # over holes there is no surface to be near to; half a voxel is where its border lies
        _, nearest = tree.query(lids)
        coords, faces = np.concatenate([coords, lids]), np.concatenate([faces, owner[nearest]])
        best = np.concatenate([best, np.full(len(lids), 0.5)])
        points = np.concatenate([points, samples[nearest]])
    return coords, best, points, faces


def _borders(inside: np.ndarray) -> np.ndarray:
    """(R, R, R) bool: voxels beside one on the other side."""
    borders = np.zeros_like(inside)
    for axis in range(3):
        changes = np.diff(inside, axis=axis)
        for place in (slice(None, -1), slice(1, None)):
            borders[tuple(place if a == axis else slice(None) for a in range(3))] |= changes
    return borders


def _surface_points(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) evenly over the surface, one a face at least, and the face (N,) of each."""
    a, b, c = (triangles[:, k] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    density = min(_DENSITY, _MOST_POINTS / max(areas.sum(), 1e-9))
    counts = np.maximum(1, np.ceil(areas * density - 0.5)).astype(int)
    owner = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The R2 sequence: points of the unit square that keep apart from each other however many are taken.
    weights = barycentric(np.column_stack([0.5 + number * 0.7548776662466927, 0.5 + number * 0.5698402909980532]) % 1)
    weights[counts[owner] == 1] = 1 / 3
    return np.einsum("nk,nkd->nd", weights, triangles[owner]), owner


def closest_points(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The point of each triangle (N, 3, 3) that is nearest to each point (N, 3)."""
    a, b, c = (triangles[:, k] for k in range(3))
    normal = np.cross(b - a, c - a)
    square = np.maximum(np.einsum("nd,nd->n", normal, normal), 1e-30)
    height = np.einsum("nd,nd->n", points - a, normal) / square
    flat = points - height[:, None] * normal
    inside = np.ones(len(points), bool)
    best, nearest = np.full(len(points), np.inf), flat.copy()
    for start, end in ((a, b), (b, c), (c, a)):
        along = end - start
        inside &= np.einsum("nd,nd->n", np.cross(along, flat - start), normal) >= 0
        share = np.einsum("nd,nd->n", points - start, along) / np.maximum(np.einsum("nd,nd->n", along, along), 1e-30)
        on_edge = start + share.clip(0, 1)[:, None] * along
        length = np.linalg.norm(points - on_edge, axis=1)
        closer = length < best
        best[closer], nearest[closer] = length[closer], on_edge[closer]
    nearest[inside] = flat[inside]
    return nearest


def _directions(mesh: Mesh, coords: np.ndarray, points: np.ndarray, faces: np.ndarray,
                signed: np.ndarray) -> np.ndarray:
    """(N, 3) unit gradient of the distance: away from the nearest point, where that is too near the face's normal."""
    away = (coords - points) * np.where(signed < 0, -1, 1)[:, None]
    length = np.linalg.norm(away, axis=1, keepdims=True)
    return np.where(length > _TOO_NEAR, away / np.maximum(length, 1e-9), mesh.face_normals[faces])


def _colors(mesh: Mesh, triangles: np.ndarray, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(N, 3) colours in [0, 1] at points of the surface, between those of the face's corners."""
    a, b, c = (triangles[faces, k] for k in range(3))
    areas = [np.linalg.norm(np.cross(p - points, q - points), axis=1) for p, q in ((b, c), (c, a), (a, b))]
    weights = np.column_stack(areas) + 1e-12
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("nk,nkd->nd", weights, mesh.colors[mesh.faces[faces]] / 255.0)


def _chunks(counts: np.ndarray) -> list[np.ndarray]:
    """Indices with a count, in groups whose counts add up to about _CHUNK."""
    wanted = np.flatnonzero(counts)
    group = np.cumsum(counts[wanted]) // _CHUNK
    return np.split(wanted, np.flatnonzero(np.diff(group)) + 1) if len(wanted) else []
