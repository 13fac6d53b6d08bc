"""What else as many bytes as a shape's codes can hold: voxels, and a simplified mesh that Draco has compressed.

Neither holds colours, so all bytes go to geometry. Draco comes with the Python package DracoPy and meshes are
simplified by fast-simplification (quadric edge collapse), which only this comparison needs; where one is missing, the
column is.
"""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np

from kyvo_ros.autoencoders.shape_tokenizer import ShapeTokenizerConfig
from kyvo_ros.autoencoders.slat_encoding import occupancy
from kyvo_ros.autoencoders.slat_meshing import mesh_of_grid
from kyvo_ros.autoencoders.slats import DISTANCE, FEATURES, CubeFrame
from kyvo_ros.scene.mesh import Mesh

#: Samples along each side of a voxel; one is set where half of them are inside.
_SAMPLES = 3
#: Bits of a coordinate in Draco: a 256th of the longest side.
_QUANTIZATION_BITS = 8
#: Triangles between which the largest mesh that fits is looked for.
_LEAST_TRIANGLES, _MOST_TRIANGLES = 8, 4096


def code_bytes(config: ShapeTokenizerConfig) -> int:
    """Bytes of a shape's codes, each of as many whole bits as the codebook needs."""
    return math.ceil(config.length * math.ceil(math.log2(config.codebook_size)) / 8)


def through_voxels(mesh: Mesh, most_bytes: int) -> Mesh | None:
    """The surface of the finest grid of a bit a voxel in the mesh's cube; None where no voxel is set."""
    side = int((8 * most_bytes) ** (1 / 3) + 1e-9)
    low, high = mesh.bounds
    frame = CubeFrame(tuple((low + high) / 2), float((high - low).max()))
    fine = occupancy(mesh, frame, side * _SAMPLES).reshape(*(side, _SAMPLES) * 3)
    filled = fine.mean(axis=(1, 3, 5)) >= 0.5
    if not filled.any():
        return None
    grid = np.zeros((len(FEATURES), *filled.shape), np.float32)
    grid[DISTANCE] = np.where(filled, -0.5, 0.5)
    return mesh_of_grid(grid, frame)


def draco_is_here() -> bool:
    """Whether both packages are."""
    return all(find_spec(name) is not None for name in ("DracoPy", "fast_simplification"))


def through_draco(mesh: Mesh, most_bytes: int) -> Mesh | None:
    """What Draco gives back of the simplified mesh with the most triangles that fit; None where none does."""
    low, high, best = _LEAST_TRIANGLES, _MOST_TRIANGLES, None
    while low <= high:
        budget = (low + high) // 2
        data = _compressed(mesh, budget)
        if len(data) <= most_bytes:
            best, low = data, budget + 1
        else:
            high = budget - 1
    return None if best is None else _decompressed(best)


def _compressed(mesh: Mesh, triangles: int) -> bytes:
    import DracoPy
    import fast_simplification

    vertices, faces = mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32)
    if triangles < len(faces):
        vertices, faces = fast_simplification.simplify(vertices, faces, target_count=triangles)
    return DracoPy.encode(vertices, faces, compression_level=10, quantization_bits=_QUANTIZATION_BITS)


def _decompressed(data: bytes) -> Mesh:
    import DracoPy

    made = DracoPy.decode(data)
    vertices = np.asarray(made.points, float).reshape(-1, 3)
    return Mesh(vertices, np.asarray(made.faces, np.int64).reshape(-1, 3), np.full(vertices.shape, 128))
