"""Omni3D data sets (Objectron, ARKitScenes and others): images with their camera and 3D boxes in its frame, metres.

One JSON file has `images` (K, size, path below the folder of all images), `annotations` (a box each: category_name,
center_cam, dimensions [width, height, length], R_cam, bbox3D_cam) and `categories`. The frame is the camera's: x right,
y down, z forward. A box's own axes are x along its length, y down its height, z along its width.
Source: the data description of Omni3D (arXiv 2207.10660, facebookresearch/omni3d).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kyvo_ros.data.images import read_rgb
from kyvo_ros.scene import PinholeCamera, Scene, SceneObject
from kyvo_ros.tokens.published_schemas import CAMERA_FRAME

#: Halves of length, height and width (the box's own x, y, z) that lead to the eight corners, in the order of the file.
CORNERS = np.array([(-1, -1, -1), (1, -1, -1), (1, 1, -1), (-1, 1, -1),
                    (-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)]) / 2


class Omni3dFormatError(ValueError):
    """A file is not in Omni3D's format."""


@dataclass(frozen=True, eq=False)
class Box:
    """A 3D box in the camera's frame."""

    category: str
    center_m: np.ndarray  # (3,)
    dimensions_m: np.ndarray  # (3,) width, height, length
    rotation: np.ndarray  # (3, 3) camera_R_box

    def corners_m(self) -> np.ndarray:
        """(8, 3) in the camera's frame, in the order of the file."""
        return CORNERS * self.dimensions_m[[2, 1, 0]] @ self.rotation.T + self.center_m


@dataclass(frozen=True, eq=False)
class Omni3dSample:
    """One image with its boxes, those that Omni3D calls unreliable or behind the camera left out."""

    image_id: int
    file_path: str  # as in the file, below the folder of all images
    image_path: Path
    camera: PinholeCamera
    boxes: tuple[Box, ...]

    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB. Raises ImageFileError."""
        return read_rgb(self.image_path)

    def scene(self) -> Scene:
        """The boxes in the order of the file; size_m is (width, height, length), as Kyvo writes it.

        Rotations have no place in a scene, nor in the published tokens. A category is said by its first word, which is
        all that the published evaluation reads of it: a "cereal box" is "cereal".
        """
        objects = [SceneObject({"category": box.category.split()[0]}, box.center_m, size_m=box.dimensions_m)
                   for box in self.boxes]
        return Scene(tuple(objects), CAMERA_FRAME)


def read_omni3d(path: str | Path, images: str | Path) -> list[Omni3dSample]:
    """All images of a file in its order; those without boxes too. Pixels are not read.

    Args:
        path: such as Objectron_train.json or ARKitScenes_train.json.
        images: folder that the paths in the file start from.

    Raises Omni3dFormatError with the entry that is wrong.
    """
    document = _document(Path(path))
    boxes: dict[int, list[Box]] = {}
    where = "images"
    try:
        for entry in document["images"]:
            boxes[entry["id"]] = []
        for where in document["annotations"]:
            if _reliable(where):
                boxes[where["image_id"]].append(_box(where))
        where = "images"
        return [_sample(entry, tuple(boxes[entry["id"]]), Path(images)) for entry in document["images"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise Omni3dFormatError(f"{path} is not in Omni3D's format at {str(where)[:80]}: {error!r}") from error


def _reliable(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("valid3D", True)) and not entry.get("behind_camera", False)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Omni3dFormatError(f"cannot read {path}: {error}") from error
    if not isinstance(document, dict) or not {"images", "annotations"} <= set(document):
        raise Omni3dFormatError(f"{path} must hold images and annotations")
    return document


def _sample(entry: Mapping[str, Any], boxes: tuple[Box, ...], images: Path) -> Omni3dSample:
    k = np.asarray(entry["K"], dtype=np.float64)
    if k.shape != (3, 3):
        raise Omni3dFormatError(f"K of {entry['file_path']} must be 3x3, got {k.shape}")
    camera = PinholeCamera(int(entry["width"]), int(entry["height"]), *map(float, (k[0, 0], k[1, 1], k[0, 2], k[1, 2])))
    return Omni3dSample(int(entry["id"]), entry["file_path"], images / entry["file_path"], camera, boxes)


def _box(entry: Mapping[str, Any]) -> Box:
    parts = {name: np.asarray(entry[name], dtype=np.float64) for name in ("center_cam", "dimensions", "R_cam")}
    for name, shape in (("center_cam", (3,)), ("dimensions", (3,)), ("R_cam", (3, 3))):
        if parts[name].shape != shape or not np.isfinite(parts[name]).all():
            raise Omni3dFormatError(f"{name} must be finite and of shape {shape}, got {entry[name]}")
    if not str(entry["category_name"]).strip():
        raise Omni3dFormatError(f"category_name must name a category, got {entry['category_name']!r}")
    return Box(str(entry["category_name"]), *parts.values())
