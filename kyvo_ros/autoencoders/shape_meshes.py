"""Meshes to the codes of a shape tokenizer and back, in the frames of objects: centred, z up, metres.

Codes say a shape in its cube; how large it is, an object says by the extents of its bounding box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizer
from kyvo_ros.autoencoders.slat_encoding import encode_slat
from kyvo_ros.autoencoders.slat_meshing import mesh_of_grid
from kyvo_ros.autoencoders.slats import CubeFrame, SlatError, to_grid
from kyvo_ros.scene.mesh import Mesh


def encode_meshes(tokenizer: ShapeTokenizer, meshes: Sequence[Mesh]) -> np.ndarray:
    """(N, L) int64 codes of meshes; inverse of `decode_meshes` as far as codes go. Raises MeshError, SlatError."""
    device = next(tokenizer.parameters()).device
    grids = [torch.as_tensor(to_grid(encode_slat(mesh, tokenizer.config.resolution))) for mesh in meshes]
    codes = [tokenizer.encode(grid[None].to(device)).cpu().numpy() for grid in grids]
    return np.concatenate(codes) if codes else np.zeros((0, tokenizer.config.length), np.int64)


def decode_meshes(tokenizer: ShapeTokenizer, codes: np.ndarray, sizes_m: Sequence[np.ndarray]) -> list[Mesh | None]:
    """Meshes of codes (N, L) whose longest sides are those of extents (3,); None where codes enclose nothing."""
    device, resolution = next(tokenizer.parameters()).device, tokenizer.config.resolution
    meshes: list[Mesh | None] = []
    for own, size_m in zip(codes, sizes_m, strict=True):
        grid = tokenizer.decode(torch.as_tensor(own, device=device)[None])[0].cpu().numpy()
        half = np.full(3, np.max(size_m) / 2)
        try:
            meshes.append(mesh_of_grid(grid, CubeFrame.around(np.stack([-half, half]), resolution)))
        except SlatError:  # nothing is inside
            meshes.append(None)
    return meshes
