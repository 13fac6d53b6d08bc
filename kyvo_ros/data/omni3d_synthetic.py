"""A synthetic data set in Omni3D's format: scenes of the ray caster, scaled to metres, in the frame of their camera.

For trying what reads the format, and for training where no photographs are to be had. The categories are the shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kyvo_ros.data.clevr import clevr_camera
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.omni3d import Box
from kyvo_ros.data.placement import RADII, SHAPES, PlacementSettings, SceneBatch, half_height
from kyvo_ros.data.raycaster import Raycaster
from kyvo_ros.data.stream import stream_scenes
from kyvo_ros.scene import PinholeCamera, Transform

#: CLEVR's unit in metres: a table-top, with objects of 5 to 14 cm some 1.1 m away.
METRES_PER_UNIT = 0.1
_BATCH = 16
_UNKNOWN = -1  # as Omni3D writes what it does not know


def write_omni3d(folder: str | Path, split: str, scenes: int, seed: int = 0, size: tuple[int, int] = (320, 240),
                 metres_per_unit: float = METRES_PER_UNIT, placement: PlacementSettings = PlacementSettings()) -> Path:
    """Write `scenes` images (width, height) and Synthetic_<split>.json below a folder; returns the JSON's path.

    The seed decides everything. Raises PlacementError where the placement leaves no room.
    """
    folder = Path(folder)
    camera = clevr_camera(*size)
    document: dict[str, Any] = {
        "info": {"id": "Synthetic", "source": 0, "name": f"Synthetic {split}", "split": split, "version": "1",
                 "url": ""},
        "images": [], "annotations": [],
        "categories": [{"id": i, "name": name, "supercategory": ""} for i, name in enumerate(SHAPES)]}
    rendered = _rendered(scenes, seed, camera, placement)
    for number, (image, batch, row, visible) in enumerate(tqdm(rendered, total=scenes, unit="image", mininterval=5)):
        file_path = f"synthetic/{split}/{number:06d}.png"
        write_rgb(folder / file_path, image)
        document["images"].append({
            "id": number, "dataset_id": 0, "width": camera.width, "height": camera.height, "file_path": file_path,
            "K": camera.matrix().tolist(), "src_90_rotate": 0, "src_flagged": False})
        for box, pixels in zip(boxes_of(batch, row, metres_per_unit), visible):
            document["annotations"].append(_annotation(len(document["annotations"]), number, box, pixels, camera))
    path = folder / f"Synthetic_{split}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def boxes_of(batch: SceneBatch, row: int, metres_per_unit: float) -> list[Box]:
    """The objects of one scene as boxes in the frame of its camera."""
    optical_T_world = Transform.from_matrix(batch.world_T_optical[row]).inverse()
    boxes = []
    for i in range(int(batch.count[row])):
        size, shape = batch.size[row, i], batch.shape[row, i]
        cube = SHAPES[shape] == "cube"
        half = float(half_height(size, shape)) if cube else float(RADII[size])
        yaw = Transform.from_yaw(float(batch.yaw_rad[row, i])).rotation
        upright = np.stack([yaw[:, 0], [0.0, 0.0, -1.0], yaw[:, 1]], axis=1)  # world_R_box: x length, y down, z width
        boxes.append(Box(SHAPES[shape], metres_per_unit * optical_T_world.apply(batch.position[row, i]),
                         np.full(3, 2 * half * metres_per_unit), optical_T_world.rotation @ upright))
    return boxes


def _rendered(scenes: int, seed: int, camera: PinholeCamera, placement: PlacementSettings
              ) -> Iterator[tuple[np.ndarray, SceneBatch, int, np.ndarray]]:
    """Image, batch, row, and visible pixels (N,) of each scene."""
    raycaster = Raycaster(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy)
    left = scenes
    for images, batch, visible in stream_scenes(seed, min(_BATCH, scenes), placement, raycaster):
        for row in range(min(left, len(batch))):
            yield images[row].cpu().numpy(), batch, row, visible[row]
        left -= len(batch)
        if left <= 0:
            return


def _annotation(number: int, image: int, box: Box, pixels: float, camera: PinholeCamera) -> dict[str, Any]:
    corners = box.corners_m()
    behind = bool((corners[:, 2] <= 0).any())
    rectangle = [float(_UNKNOWN)] * 4
    if not behind:
        places = camera.project(corners)
        rectangle = [*places.min(axis=0).tolist(), *places.max(axis=0).tolist()]
    inside = np.clip(rectangle, 0, [camera.width, camera.height] * 2).tolist() if not behind else rectangle
    return {
        "id": number, "image_id": image, "category_id": SHAPES.index(box.category), "category_name": box.category,
        "valid3D": not behind, "bbox2D_tight": [_UNKNOWN] * 4, "bbox2D_proj": rectangle, "bbox2D_trunc": inside,
        "bbox3D_cam": corners.tolist(), "center_cam": box.center_m.tolist(), "dimensions": box.dimensions_m.tolist(),
        "R_cam": box.rotation.tolist(), "behind_camera": behind, "visibility": _UNKNOWN,
        "truncation": 0.0 if behind else 1.0 - _area(inside) / max(_area(rectangle), 1e-9),
        "segmentation_pts": int(pixels), "lidar_pts": _UNKNOWN, "depth_error": _UNKNOWN}


def _area(rectangle: list[float]) -> float:
    return (rectangle[2] - rectangle[0]) * (rectangle[3] - rectangle[1])
