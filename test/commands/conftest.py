"""A tiny model in a folder, and a CLEVR folder whose ground truth is what that model sees, but for one colour."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny_model import tiny_bundle

from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.data.images import write_rgb
from kyvo_ros.model.folder import save_model
from kyvo_ros.pipeline import KyvoPipeline

IMAGES = 6


@pytest.fixture()
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    save_model(folder, tiny_bundle())
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clevr") / "train"
    rng = np.random.default_rng(0)
    c, s = math.cos(0.5), math.sin(0.5)
    pose = [[1, 0, 0, 0], [0, -s, -c, 0], [0, c, -s, 11.0], [0, 0, 0, 1]]  # the plane frame is the world
    camera = {"width": 320, "height": 240, "fx": 350, "fy": 350, "cx": 160, "cy": 120, "world_to_camera": pose}
    scenes = []
    for index in range(IMAGES):
        image = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
        write_rgb(folder / "images" / f"{index}.png", image)
        scenes.append({"image_index": index, "image_filename": f"{index}.png", "objects": [], "camera": camera})
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    pipeline = KyvoPipeline(tiny_bundle(), "cpu")
    for sample, scene in zip(read_clevr(folder), scenes):
        for seen in pipeline.recognize(sample.image(), sample.view).objects:
            x, y, z = seen.position_m
            scene["objects"].append({**seen.attributes, "3d_coords": [x + 0.02, y - 0.03, z],
                                     "rotation": math.degrees(seen.yaw_rad or 0.0)})
    first = next(o for scene in scenes for o in scene["objects"])
    first["color"] = "red" if first["color"] != "red" else "blue"
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return folder
