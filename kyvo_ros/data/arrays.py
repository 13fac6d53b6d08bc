"""Files of arrays, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kyvo_ros.scene.files import whole_file


def write_arrays(path: Path, compressed: bool = False, **arrays: np.ndarray | int) -> None:
    """Write an .npz and the folders above it; a crash leaves no half file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
