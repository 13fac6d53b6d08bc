"""Slats of the procedural library for training: made once by worker processes, kept in bytes, drawn in variations."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kyvo_ros.autoencoders.slat_encoding import encode_slat
from kyvo_ros.autoencoders.slats import COLOR, DISTANCE, FEATURES, OPENNESS, RESOLUTION, Slat, to_grid
from kyvo_ros.data.arrays import write_arrays
from kyvo_ros.data.assets import assets, categories, make_asset
from kyvo_ros.training.trainer import TrainingError

#: Objects a file.
SHARD = 100
#: Features that lie in [0, 1]; the others in [-1, 1].
_UNIT = slice(COLOR.start, OPENNESS + 1)


@dataclass(frozen=True, eq=False)
class SlatSet:
    """Many slats of one resolution, a byte a feature, one after the other."""

    coords: np.ndarray  # (sum N, 3) uint8
    feats: np.ndarray  # (sum N, 8) uint8; 0 to 254 over the feature's range
    ends: np.ndarray  # (S,) int64 where each slat ends
    inside: np.ndarray  # (S, R^3 / 8) uint8; of the voxels that are not active, those within the solid, a bit each
    resolution: int = RESOLUTION  # voxels along each side, at most 256

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def of(cls, slats: list[Slat]) -> SlatSet:
        """Slats of one resolution. Raises ValueError where a byte does not hold its voxel indices."""
        if slats[0].resolution > 256:
            raise ValueError(f"resolution must be at most 256, got {slats[0].resolution}")
        feats = np.concatenate([slat.feats for slat in slats])
        feats[:, _UNIT] = 2 * feats[:, _UNIT] - 1
        return cls(np.concatenate([slat.coords for slat in slats]).astype(np.uint8),
                   np.round(127 * feats.clip(-1, 1) + 127).astype(np.uint8),
                   np.cumsum([len(slat.coords) for slat in slats]),
                   np.stack([np.packbits(to_grid(slat)[DISTANCE] == -1) for slat in slats]), slats[0].resolution)

    def grid(self, index: int) -> Tensor:
        """(8, R, R, R) float32 of one slat."""
        chosen = slice(self.ends[index - 1] if index else 0, self.ends[index])
        feats = (self.feats[chosen].astype(np.float32) - 127) / 127
        feats[:, DISTANCE] *= 0.999  # what was active stays so
        feats[:, _UNIT] = (feats[:, _UNIT] + 1) / 2
        sides = (self.resolution,) * 3
        inside = np.unpackbits(self.inside[index], count=self.resolution**3).reshape(sides)
        grid = np.zeros((len(FEATURES), *sides), np.float32)
        grid[DISTANCE] = 1 - 2 * inside.astype(np.float32)
        grid[(slice(None), *self.coords[chosen].T)] = feats.T
        return torch.from_numpy(grid)

    def save(self, path: Path) -> None:
        """Write an .npz; inverse of `load`. A crash leaves no half file."""
        write_arrays(path, compressed=True, coords=self.coords, feats=self.feats, ends=self.ends,
                     inside=self.inside, resolution=self.resolution)

    @classmethod
    def load(cls, paths: list[Path]) -> SlatSet:
        """Read files of one resolution, one after the other."""
        coords, feats, ends, inside, total = [], [], [], [], 0
        for path in paths:
            with np.load(path) as file:
                coords.append(file["coords"])
                feats.append(file["feats"])
                ends.append(file["ends"] + total)
                inside.append(file["inside"])
                resolution = int(file["resolution"])
            total += len(coords[-1])
        return cls(*map(np.concatenate, (coords, feats, ends, inside)), resolution)


def prepared_slats(folder: Path, split: str, count: int, resolution: int, workers: int,
                   names: Sequence[str] = ()) -> SlatSet:
    """The first `count` assets of a split as slats, made where files are missing; `names` as for `assets`. Raises
    TrainingError for none.
    """
    if count < 1:
        raise TrainingError(f"expected at least one object of the split {split}, got {count}")
    shards, key = range((count + SHARD - 1) // SHARD), names_key(names or categories(split))
    paths = [folder / f"{split}_{resolution}_{key}_{shard:04d}_of_{count}.npz" for shard in shards]
    missing = [(shard, path) for shard, path in zip(shards, paths) if not path.exists()]
    make = partial(_write_shard, list(assets(split, count, names)), resolution)
    if workers <= 1:
        for job in tqdm(missing, desc=f"slats {split}", unit=f"{SHARD} objects", disable=None):
            make(job)
    elif missing:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            list(tqdm(pool.map(make, missing), desc=f"slats {split}", total=len(missing), unit=f"{SHARD} objects"))
    return SlatSet.load(paths)


def names_key(names: Sequence[str]) -> str:
    """What tells files of objects of these categories from those of others."""
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]


def _write_shard(library: list[tuple[str, int]], resolution: int, job: tuple[int, Path]) -> None:
    shard, path = job
    chosen = library[shard * SHARD:(shard + 1) * SHARD]
    SlatSet.of([encode_slat(make_asset(name, index), resolution) for name, index in chosen]).save(path)


def mirrored(grid: Tensor) -> Tensor:
    """A grid (8, R, R, R) seen in a mirror, y -> -y: its front stays where it is."""
    grid = grid.flip(2)
    grid[2].neg_()
    return grid


def varied(grid: Tensor, rng: np.random.Generator) -> Tensor:
    """A grid (8, R, R, R) turned by quarters about z, mirrored, and with its colour channels swapped, at random."""
    order = [FEATURES.index(name) for name in rng.permutation(("red", "green", "blue"))]
    grid = torch.cat([grid[:COLOR.start], grid[order], grid[OPENNESS:]])
    if rng.random() < 0.5:
        grid = mirrored(grid)
    for _ in range(rng.integers(4)):  # (x, y) -> (-y, x)
        grid = grid.transpose(1, 2).flip(1)
        grid = torch.stack([grid[0], -grid[2], grid[1], *grid[3:]])
    return grid.contiguous()
