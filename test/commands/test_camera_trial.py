"""`kyvo evaluate cameras`: every camera gets a score, paired where it can be, with the right camera handed on."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from tiny_model import tiny_bundle

from kyvo_ros.commands.camera_trial import camera_trial
from kyvo_ros.cli import main
from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.reprojection import other_cameras
from kyvo_ros.model.folder import save_model
from kyvo_ros.pipeline import KyvoPipeline
from kyvo_ros.scene import PLANE_FRAME, Scene


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A CLEVR folder of two images with a ball at the middle and one at the edge of what the camera sees."""
    folder = tmp_path_factory.mktemp("data") / "clevr"
    scenes = []
    for index in range(2):
        write_rgb(folder / "images" / f"{index}.png", np.full((240, 320, 3), 90 * index, np.uint8))
        balls = [{"shape": "sphere", "size": "large", "color": "red", "material": "metal", "3d_coords": [x, 0.0, 0.7],
                  "rotation": 0.0} for x in (0.0, 4.9)]
        c, s = math.cos(0.5), math.sin(0.5)
        pose = [[1, 0, 0, 0], [0, -s, -c, 0], [0, c, -s, 11.0], [0, 0, 0, 1]]
        scenes.append({"image_index": index, "image_filename": f"{index}.png", "objects": balls, "camera": {
            "width": 320, "height": 240, "fx": 350, "fy": 350, "cx": 160, "cy": 120, "world_to_camera": pose}})
    (folder / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return folder


class Oracle(KyvoPipeline):
    """Knows the middle ball where the image comes with its plane and without roll, and nothing else."""

    def __init__(self, truth: Scene) -> None:
        super().__init__(tiny_bundle(), "cpu")
        self.middle = Scene([o for o in truth.objects if abs(o.position_m[0]) < 1], PLANE_FRAME)

    def recognize_batch(self, images, cameras=None, **options):
        for image, view in zip(images, cameras):
            assert image.shape[:2] == (view.intrinsics.height, view.intrinsics.width)
        return [self.middle if view.plane and not view.roll_rad else Scene() for view in cameras]


def test_costs_are_those_of_an_oracle_that_fails_at_roll_and_without_pose(data):
    samples = read_clevr(data)
    scores = {s.name: s for s in camera_trial(Oracle(samples[0].scene), samples, samples)}
    assert set(other_cameras(samples[0].view.intrinsics)) | {
        "pose unknown", "other renders", "other renders, pose unknown"} == set(scores)
    for name, score in scores.items():
        fails = "roll" in name or "unknown" in name
        assert score.camera[0.25].value == (0.0 if fails else 1.0), name  # the ball at the edge never counts
        assert score.images == 2
        if not name.startswith("other"):
            assert score.original[0.25].value == 1.0 and score.difference[0.25].value == (-1.0 if fails else 0.0)


def test_the_command(data, tmp_path, capsys):
    save_model(tmp_path / "tiny", tiny_bundle())
    files = {name: tmp_path / f"cameras.{name}" for name in ("json", "markdown")}
    assert main(["evaluate", "cameras", "--data", str(data), "--other", str(data), "--limit", "1", "--model",
                 str(tmp_path / "tiny"), "--json", str(files["json"]), "--markdown", str(files["markdown"])]) == 0
    record = json.loads(files["json"].read_text())
    assert record["model"] == "tiny" and {c["images"] for c in record["cameras"]} == {1}
    table = files["markdown"].read_text()
    assert table in capsys.readouterr().out and table.count("\n") == 2 + len(record["cameras"])
    assert main(["evaluate", "cameras", "--data", str(data), "--limit", "0"]) == 2
    assert "--limit" in capsys.readouterr().err
