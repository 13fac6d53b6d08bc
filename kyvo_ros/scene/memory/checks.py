"""What a memory refuses: scenes, numbers and stamps that cannot be meant. All checks come before any change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kyvo_ros.scene.distortion import DistortionError
from kyvo_ros.scene.memory.config import MemoryInputError
from kyvo_ros.scene.memory.visibility import Viewpoint
from kyvo_ros.scene.types import Scene, SceneObject

#: No coordinate, extent or standard deviation of a scene is larger than this (metres).
MOST_M = 1e6


def checked_stamp(stamp_ns: Any) -> int:
    """The stamp. Raises MemoryInputError where it is no whole number of nanoseconds from 0 on."""
    if isinstance(stamp_ns, bool) or not isinstance(stamp_ns, (int, np.integer)) or stamp_ns < 0:
        raise MemoryInputError(f"a stamp must be whole nanoseconds from 0 on, got {stamp_ns!r}")
    return int(stamp_ns)


def check_viewpoint(viewpoint: Viewpoint) -> None:
    """Raises MemoryInputError where its lens cannot say what it sees."""
    try:
        viewpoint.sees(np.zeros((1, 3)))
    except DistortionError as error:
        raise MemoryInputError(f"the viewpoint's lens cannot be used: {error}") from error


def checked_sightings(scene: Scene, frame_id: str, most: int) -> dict[int, SceneObject]:
    """The scene's objects by their index, the `most` confident ones of them at most. Raises MemoryInputError."""
    if scene.frame_id != frame_id:
        raise MemoryInputError(f"expected a scene in the memory's frame {frame_id}, got one in {scene.frame_id}; bring "
                               "it over with Scene.transformed")
    for item in scene.objects:
        _check(item)
    rows = sorted(range(len(scene)), key=lambda i: -scene.objects[i].confidence)[:most]
    return {i: scene.objects[i] for i in sorted(rows)}


def _check(item: SceneObject) -> None:
    lengths = [item.position_m, *(v for v in (item.size_m,) if v is not None)]
    if not all((np.isfinite(v) & (np.abs(v) <= MOST_M)).all() for v in lengths):
        raise MemoryInputError(
            f"positions and sizes must lie within {MOST_M:g} m, got {item.position_m} and {item.size_m}")
    if item.size_m is not None and (item.size_m < 0).any():
        raise MemoryInputError(f"sizes cannot be negative, got {item.size_m}")
    for name, p in item.attribute_confidence.items():
        if not (math.isfinite(p) and -1e-6 <= p <= 1 + 1e-6):
            raise MemoryInputError(f"the probability of {name} must lie in [0, 1], got {p}")
    if item.position_covariance_m2 is not None:
        checked_covariance(item.position_covariance_m2)


def checked_covariance(covariance_m2: np.ndarray, most_m: float = MOST_M) -> np.ndarray:
    """The covariance (3, 3) of a position, deviations up to `most_m`. Raises MemoryInputError where it is none."""
    largest = np.abs(covariance_m2).max()
    proper = (largest <= most_m**2 and np.allclose(covariance_m2, covariance_m2.T, atol=1e-6 * largest)
              and np.linalg.eigvalsh(covariance_m2).min() >= -1e-6 * largest)
    if not proper:
        raise MemoryInputError("a covariance must be symmetric, without negative eigenvalues and not larger than "
                               f"({most_m:g} m)^2, got {covariance_m2.tolist()}")
    return covariance_m2
