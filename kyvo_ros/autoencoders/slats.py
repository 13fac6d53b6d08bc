"""Sparse voxel features ("slats"): the active voxels of a 64^3 grid around an object's surface, 8 features each.

The features need no network: truncated signed distance, normal, colour, and how open the surroundings are. Slats of
Trellis (arXiv 2412.01506), whose features come from one, are read here too and have the same arrays; only the decoder
of their own network turns them into meshes.

Grid points are the voxel centres. The signed distance (positive outside) is truncated at TRUNCATION voxels, and active
is what lies closer. Along an edge of the grid the distance changes by one voxel at most, so wherever it changes sign
both ends are active: what is inactive takes its sign from the active voxels beside it, and nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

RESOLUTION = 64
FEATURES = ("distance", "normal_x", "normal_y", "normal_z", "red", "green", "blue", "openness")
DISTANCE, NORMAL, COLOR, OPENNESS = 0, slice(1, 4), slice(4, 7), 7
#: Voxels of distance that the feature's 1 stands for.
TRUNCATION = 1.5
#: Voxels between the object's longest side and the border of the grid.
MARGIN = 2


class SlatError(ValueError):
    """Arrays are no slat, or a slat encloses nothing; the message says what was expected."""


@dataclass(frozen=True)
class CubeFrame:
    """Where the cube stands in the object's frame: point_m = center_m + edge_m * q, with q in [-0.5, 0.5]^3."""

    center_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    edge_m: float = 1.0  # of the whole grid, margins included

    def __post_init__(self) -> None:
        object.__setattr__(self, "center_m", tuple(float(v) for v in self.center_m))
        if not (np.isfinite(self.center_m).all() and np.isfinite(self.edge_m) and self.edge_m > 0):
            raise SlatError(f"a cube needs a finite centre and a positive edge, got {self.center_m}, {self.edge_m}")

    @classmethod
    def around(cls, bounds_m: np.ndarray, resolution: int = RESOLUTION) -> CubeFrame:
        """The cube in which a box (2, 3) of lowest and highest corner is as large as the margins allow."""
        low, high = np.asarray(bounds_m, float)
        return cls(tuple((low + high) / 2), float((high - low).max()) * resolution / (resolution - 2 * MARGIN))

    def to_grid(self, points_m: np.ndarray, resolution: int = RESOLUTION) -> np.ndarray:
        """Metres (..., 3) -> voxel indices as fractions, 0 at the first centre; inverse of `from_grid`."""
        return ((np.asarray(points_m) - self.center_m) / self.edge_m + 0.5) * resolution - 0.5

    def from_grid(self, points: np.ndarray, resolution: int = RESOLUTION) -> np.ndarray:
        """Voxel indices as fractions (..., 3) -> metres."""
        return ((np.asarray(points) + 0.5) / resolution - 0.5) * self.edge_m + self.center_m


@dataclass(frozen=True, eq=False)
class Slat:
    """Active voxels and their features. Raises SlatError where the arrays do not fit."""

    coords: np.ndarray  # (N, 3) int32 voxel indices x, y, z, without doubles
    feats: np.ndarray  # (N, C) float32; of our own slats as FEATURES says
    frame: CubeFrame = field(default_factory=CubeFrame)
    resolution: int = RESOLUTION

    def __post_init__(self) -> None:
        coords, feats = np.asarray(self.coords), np.asarray(self.feats, np.float32)
        if coords.ndim != 2 or coords.shape[1] != 3 or feats.ndim != 2 or len(coords) != len(feats):
            raise SlatError(f"expected coords (N, 3) and feats (N, C), got {coords.shape} and {feats.shape}")
        if not len(coords):
            raise SlatError("a slat needs an active voxel")
        if coords.min() < 0 or coords.max() >= self.resolution:
            raise SlatError(f"coords must lie in [0, {self.resolution}), got {coords.min()} to {coords.max()}")
        if not np.isfinite(feats).all():
            raise SlatError("feats must be finite numbers")
        if len(np.unique(np.ravel_multi_index(coords.T.astype(np.int64), (self.resolution,) * 3))) < len(coords):
            raise SlatError("coords name a voxel twice")
        object.__setattr__(self, "coords", coords.astype(np.int32))
        object.__setattr__(self, "feats", feats)


def to_grid(slat: Slat) -> np.ndarray:
    """(8, R, R, R) float32 features of all voxels; inverse of `from_grid`.

    Inactive voxels have zeros but for the distance, which is 1 outside and -1 inside. Raises SlatError for slats with
    other features.
    """
    if slat.feats.shape[1] != len(FEATURES):
        raise SlatError(f"expected the features {FEATURES}, got {slat.feats.shape[1]} of another kind")
    grid = np.zeros((len(FEATURES), *(slat.resolution,) * 3), np.float32)
    grid[(slice(None), *slat.coords.T)] = slat.feats.T
    active = np.zeros(grid.shape[1:], bool)
    active[tuple(slat.coords.T)] = True
    grid[DISTANCE][~active] = _inactive_signs(grid[DISTANCE], active)[~active]
    return grid


def from_grid(grid: np.ndarray, frame: CubeFrame) -> Slat:
    """The active voxels of (8, R, R, R) features. Raises SlatError where there are none."""
    coords = np.argwhere(np.abs(grid[DISTANCE]) < 1)
    return Slat(coords, grid[(slice(None), *coords.T)].T, frame, grid.shape[-1])


def read_trellis(path: str | Path, frame: CubeFrame = CubeFrame()) -> Slat:
    """A slat of Trellis: .npz with `coords` (N, 3), or (N, 4) with the batch first, and `feats` (N, C).

    Raises SlatError where the file is missing, another, or holds more than one object.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            coords, feats = file["coords"], file["feats"]
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise SlatError(f"{path} holds no arrays coords and feats ({error}); expected an .npz of Trellis") from error
    if coords.ndim == 2 and coords.shape[1] == 4:
        if len(np.unique(coords[:, 0])) > 1:
            raise SlatError(f"{path} holds {len(np.unique(coords[:, 0]))} objects; expected one")
        coords = coords[:, 1:]
    return Slat(coords, feats, frame)


def _inactive_signs(distance: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(R, R, R) 1 or -1: of each connected set of inactive voxels the sign of most active ones beside it."""
    labels, count = ndimage.label(~active)
    votes = np.zeros(count + 1)
    for axis in range(3):
        for back in (False, True):
            a, b = (np.flip(v, axis) if back else v for v in (labels, np.where(active, np.sign(distance), 0)))
            a, b = np.moveaxis(a, axis, 0)[:-1], np.moveaxis(b, axis, 0)[1:]
            votes += np.bincount(a.reshape(-1), b.reshape(-1), count + 1)
    border = np.unique(np.concatenate([np.moveaxis(labels, axis, 0)[[0, -1]].reshape(-1) for axis in range(3)]))
    votes[border] = 1
    return np.where(votes < 0, -1.0, 1.0)[labels]
