"""`kyvo evaluate recognition --metric published`: models of a world are scored there, and what it cannot score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kyvo_ros.cli import main
from kyvo_ros.commands import recognition
from kyvo_ros.data.clevr import ClevrSample
from kyvo_ros.data.images import write_rgb
from kyvo_ros.model.published_sight import WORLD_YAW_RAD, in_plane_frame
from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.tokens import SceneSchema
from kyvo_ros.tokens.published_schemas import CLEVR, WORLD_FRAME, objaworld

#: How far the cameras of the images are turned against CLEVR's nominal one.
TURNS_RAD = (0.0, 0.06)
BALL = {"shape": "sphere", "size": "large", "color": "red", "material": "metal", "3d_coords": [2.0, -1.0, 0.7],
        "rotation": 0.0}


@pytest.fixture
def clevr(tmp_path: Path) -> Path:
    """A ball in the same place of the world, seen by cameras that stand apart by TURNS_RAD."""
    scenes = []
    for number, turn in enumerate(TURNS_RAD):
        write_rgb(tmp_path / "images" / f"{number}.png", np.zeros((240, 320, 3), np.uint8))
        yaw = WORLD_YAW_RAD + turn
        c, s = math.cos(yaw), math.sin(yaw)
        directions = {"right": [c, s, 0.0], "behind": [-s, c, 0.0]}
        depth = 11.267 + (-s * 2.0 - c * 1.0) * math.cos(0.4948) - 0.7 * math.sin(0.4948)
        scenes.append({"image_index": number, "image_filename": f"{number}.png", "directions": directions,
                       "objects": [{**BALL, "pixel_coords": [0, 0, depth]}]})
    (tmp_path / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    return tmp_path


def perfect(schema: SceneSchema, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every command's model one that knows the world as it is."""
    ball = SceneObject({name: BALL[name] for name in ("size", "color", "material", "shape")}, BALL["3d_coords"])

    def predict(pipeline: object, samples: Sequence[ClevrSample], *rest: object) -> tuple[list[Scene], float]:
        return [in_plane_frame(Scene((ball,), WORLD_FRAME), sample.view.plane) for sample in samples], 0.1

    model = SimpleNamespace(schema=schema, name="perfect", device="cpu")
    monkeypatch.setattr(recognition, "load_pipeline", lambda args: model)
    monkeypatch.setattr(recognition, "predict", predict)


def test_a_perfect_model_of_the_world_is_perfect_wherever_the_camera_stands(
        clevr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    perfect(CLEVR, monkeypatch)
    assert main(["evaluate", "recognition", "--data", str(clevr), "--metric", "published", "--json",
                 str(tmp_path / "r.json")]) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report["published_jaccard"].values()) == {1.0}
    # On the plane the second camera is not where the model must take it to be: 0.06 rad at 2.2 units are 0.13.
    assert report["jaccard"]["0.1"] == 0.5 and report["jaccard"]["0.25"] == 1.0
    assert "how far an image's camera is turned" in capsys.readouterr().out


def test_a_model_that_errs_in_the_world_is_seen_to_err(
        clevr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perfect(CLEVR, monkeypatch)
    moved = json.loads((clevr / "scenes.json").read_text())
    for scene in moved["scenes"]:
        scene["objects"][0]["3d_coords"] = [2.0, -1.2, 0.7]
    (clevr / "scenes.json").write_text(json.dumps(moved))
    assert main(["evaluate", "recognition", "--data", str(clevr), "--metric", "published", "--json",
                 str(tmp_path / "r.json")]) == 0
    scores = json.loads((tmp_path / "r.json").read_text())["published_jaccard"]
    assert scores == {"0.05": 0.0, "0.1": 0.0, "0.25": 1.0, "0.5": 1.0}


@pytest.mark.parametrize("schema", [objaworld(["barrel"]), replace(CLEVR, attributes=CLEVR.attributes[1:])])
def test_other_objects_than_clevr_s_are_not_scored_as_never_found(
        clevr: Path, schema: SceneSchema, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    perfect(schema, monkeypatch)
    assert main(["evaluate", "recognition", "--data", str(clevr), "--metric", "published"]) == 2
    assert "--metric published scores ['color', 'material', 'shape', 'size']" in capsys.readouterr().err
