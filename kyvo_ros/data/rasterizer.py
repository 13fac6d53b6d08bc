"""Pictures of meshes on a ground plane through a pinhole camera: a z-buffer in numpy, one light, shadows on the ground.

For training images of many different objects, which the ray caster's solids cannot be: all triangles of a scene are
taken apart into the pixels of their bounding boxes at once. Edges are smoothed by drawing at twice the size. It knows
neither placement nor labels. Faces that turn away from the camera are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kyvo_ros.scene import PinholeCamera, PlaneCamera
from kyvo_ros.scene.mesh import Mesh

#: Pixels drawn along each side of one of the picture.
_OVERSAMPLING = 2
#: Nearest depth that is drawn, in units of the scene.
_NEAR = 0.05
#: Cells along the picture's longer side of the pattern that makes the ground uneven.
_GROUND_CELLS = 12


@dataclass(frozen=True)
class ObjectLook:
    """How a scene is lit and what it stands on."""

    light: tuple[float, float, float] = (-0.4, -0.5, 0.77)  # direction towards the light, in the plane's frame
    ambient: float = 0.45  # brightness of what is turned away from the light
    shadow: float = 0.45  # share of the light that a shadow on the ground takes
    softness: float = 0.006  # blur of shadows, as a share of the picture's width
    ground_rgb: tuple[float, float, float] = (0.5, 0.5, 0.48)
    unevenness: float = 0.03  # spread of the ground's brightness
    exposure: float = 1.0
    seed: int = 0  # of the ground's pattern

    @classmethod
    def varied(cls, rng: np.random.Generator) -> ObjectLook:
        """Any light from above, any dull ground."""
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 75))
        light = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
        grey, tint = rng.uniform(0.3, 0.75), rng.uniform(-0.05, 0.05, 3)
        return cls(tuple(map(float, light)), rng.uniform(0.35, 0.6), rng.uniform(0.25, 0.6), rng.uniform(0.003, 0.015),
                   tuple((grey + tint).tolist()), rng.uniform(0.0, 0.06), rng.uniform(0.85, 1.15),
                   int(rng.integers(2**31)))


@dataclass(frozen=True, eq=False)
class _Fragments:
    """Pixels that triangles cover; the same pixel may come many times."""

    pixel: np.ndarray  # (N,) flat index
    triangle: np.ndarray  # (N,)
    weights: np.ndarray  # (N, 3) of the corners, with perspective
    depth: np.ndarray  # (N,)


def draw_scene(meshes: Sequence[Mesh], camera: PlaneCamera, intrinsics: PinholeCamera,
               look: ObjectLook = ObjectLook()) -> tuple[np.ndarray, np.ndarray]:
    """Meshes in the support-plane frame -> picture (H, W, 3) uint8 RGB, and visible pixels (N,) float of each mesh.

    `camera` and meshes share a unit of length; the intrinsics' distortion is not drawn.
    """
    lens = intrinsics.resized(_OVERSAMPLING * intrinsics.width, _OVERSAMPLING * intrinsics.height)
    picture = _ground(lens, look) * (1 - look.shadow * _shadows(meshes, camera, lens, look))[..., None]
    owner = np.full(lens.width * lens.height, -1)
    if meshes:
        _draw_meshes(picture.reshape(-1, 3), owner, meshes, camera, lens, look)
    small = cv2.resize(np.clip(picture * look.exposure, 0, 1), (intrinsics.width, intrinsics.height),
                       interpolation=cv2.INTER_AREA)
    counts = np.bincount(owner[owner >= 0], minlength=len(meshes)) / _OVERSAMPLING**2
    return np.round(255 * small).astype(np.uint8), counts


def _draw_meshes(picture: np.ndarray, owner: np.ndarray, meshes: Sequence[Mesh], camera: PlaneCamera,
                 lens: PinholeCamera, look: ObjectLook) -> None:
    """Put the nearest surfaces into picture (H * W, 3) and their meshes into owner (H * W,)."""
    triangles = np.concatenate([mesh.triangles for mesh in meshes])
    normals = np.concatenate([mesh.face_normals for mesh in meshes])
    colors = np.concatenate([mesh.colors[mesh.faces] for mesh in meshes]) / 255.0
    whose = np.repeat(np.arange(len(meshes)), [len(mesh.faces) for mesh in meshes])
    eye = camera.plane_T_optical().translation
    facing = np.flatnonzero(np.einsum("nd,nd->n", normals, eye - triangles[:, 0]) > 0)
    found = _fragments(triangles[facing], camera, lens)
    order = np.argsort(-found.depth, kind="stable")  # the last one written is the nearest
    triangle = facing[found.triangle[order]]
    light = np.asarray(look.light) / np.linalg.norm(look.light)
    bright = look.ambient + (1 - look.ambient) * np.clip(normals[triangle] @ light, 0, 1)
    picture[found.pixel[order]] = np.einsum("nk,nkd->nd", found.weights[order], colors[triangle]) * bright[:, None]
    owner[found.pixel[order]] = whose[triangle]


def _shadows(meshes: Sequence[Mesh], camera: PlaneCamera, lens: PinholeCamera, look: ObjectLook) -> np.ndarray:
    """(H, W) share of the light that the ground in every pixel misses."""
    mask = np.zeros(lens.width * lens.height, np.float32)
    light = np.asarray(look.light) / np.linalg.norm(look.light)
    for mesh in meshes:
        triangles = mesh.triangles[mesh.face_normals @ light > 0]
        mask[_fragments(triangles - triangles[..., 2:] / light[2] * light, camera, lens).pixel] = 1.0
    sigma = look.softness * lens.width
    return cv2.GaussianBlur(mask.reshape(lens.height, lens.width), (0, 0), sigma) if sigma > 0.1 else mask.reshape(
        lens.height, lens.width)


def _ground(lens: PinholeCamera, look: ObjectLook) -> np.ndarray:
    """(H, W, 3) of the bare ground."""
    cells = np.random.default_rng(look.seed).normal(size=(_GROUND_CELLS * lens.height // lens.width + 1, _GROUND_CELLS))
    pattern = cv2.resize(cells.astype(np.float32), (lens.width, lens.height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(look.ground_rgb) * (1 + look.unevenness * pattern)[..., None]


def _fragments(triangles: np.ndarray, camera: PlaneCamera, lens: PinholeCamera) -> _Fragments:
    """The pixels of triangles (T, 3, 3) of the plane's frame; those that reach behind the camera are left out."""
    optical = camera.plane_T_optical().inverse().apply(triangles.reshape(-1, 3)).reshape(-1, 3, 3)
    kept = np.flatnonzero((optical[..., 2] > _NEAR).all(axis=1))
    optical = optical[kept]
    corners = lens.project(optical)  # (T, 3, 2)
    low = np.ceil(corners.min(axis=1) - 0.5).astype(int).clip(0)
    high = np.minimum(np.floor(corners.max(axis=1) - 0.5).astype(int) + 1, [lens.width, lens.height])
    sides = (high - low).clip(0)
    count = sides.prod(axis=1)
    triangle = np.repeat(np.arange(len(kept)), count)
    within = np.arange(len(triangle)) - np.repeat(np.cumsum(count) - count, count)
    down, across = np.divmod(within, sides[triangle, 0])
    column, row = low[triangle, 0] + across, low[triangle, 1] + down
    flat = _barycentric(corners[triangle], np.stack([column, row], axis=-1) + 0.5)
    inside = (flat >= 0).all(axis=1)
    triangle, flat = triangle[inside], flat[inside]
    weights = flat / optical[triangle, :, 2]
    depth = 1 / weights.sum(axis=1)
    return _Fragments((row * lens.width + column)[inside], kept[triangle], weights * depth[:, None], depth)


def _barycentric(corners: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights (N, 3) of the corners (N, 3, 2) at points (N, 2), all positive within; negative for what has no area."""
    a, b, c = np.moveaxis(corners, 1, 0)
    area = _cross(b - a, c - a)
    parts = np.stack([_cross(c - b, points - b), _cross(a - c, points - c), _cross(b - a, points - a)], axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(area)[:, None] > 1e-12, parts / area[:, None], -1.0)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
