"""Folders of pictures of the library's objects: what is written is read again, in any world."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.object_folders import read_object_folder, scene_record
from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings, objects_schema, sample_object_scene
from kyvo_ros.scene import PLANE_FRAME, PinholeCamera, PlaneCamera, Transform

LENS = PinholeCamera(96, 60, 105.0, 105.0, 48.0, 28.0)
SETTINGS = ObjectSettings(categories=("banana", "box"), max_objects=3)


@pytest.fixture(scope="module")
def made() -> ObjectScene:
    return sample_object_scene(np.random.default_rng(2), LENS, PlaneCamera(11.0, 0.5), SETTINGS, "instances")


def write(folder: Path, made: ObjectScene, record: dict) -> None:
    write_rgb(folder / "images" / record["image_filename"], made.image)
    (folder / "scenes.json").write_text(json.dumps({"scenes": [record]}))


def assert_same(found: ObjectScene, made: ObjectScene) -> None:
    assert found.assets == made.assets and found.scene.frame_id == PLANE_FRAME
    assert np.array_equal(found.image, made.image)
    assert found.camera.distance_m == pytest.approx(made.camera.distance_m)
    assert found.camera.elevation_rad == pytest.approx(made.camera.elevation_rad)
    for one, other in zip(found.scene.objects, made.scene.objects, strict=True):
        assert one.attributes == other.attributes and one.size_m == pytest.approx(other.size_m)
        assert one.placed_mesh().vertices == pytest.approx(other.placed_mesh().vertices, abs=1e-6)
        assert np.array_equal(one.mesh.faces, other.mesh.faces) and np.array_equal(one.mesh.colors, other.mesh.colors)


def test_a_scene_that_was_written_is_read(tmp_path: Path, made: ObjectScene) -> None:
    write(tmp_path, made, scene_record(made, LENS, 0, "a.png"))
    (picture,) = read_object_folder(tmp_path)
    assert picture.view.intrinsics == LENS and picture.view.roll_rad == pytest.approx(0)
    assert_same(picture.load(), made)


def test_a_world_that_is_turned_and_shifted_makes_no_difference(tmp_path: Path, made: ObjectScene) -> None:
    turn, shift = math.radians(70), np.array([3.0, -2.0, 0.0])
    world_T_plane, record = Transform.from_yaw(turn, shift), scene_record(made, LENS, 0, "a.png")
    camera = Transform.from_matrix(record["camera"]["world_to_camera"]) @ world_T_plane.inverse()
    record["camera"]["world_to_camera"] = camera.matrix().tolist()
    for entry in record["objects"]:
        entry["3d_coords"] = world_T_plane.apply(entry["3d_coords"]).tolist()
        entry["rotation"] += math.degrees(turn)
    write(tmp_path, made, record)
    (picture,) = read_object_folder(tmp_path)
    assert_same(picture.load(), made)


def test_the_folder_is_one_of_own_objects(tmp_path: Path, made: ObjectScene) -> None:
    write(tmp_path, made, scene_record(made, LENS, 0, "a.png"))
    (sample,) = read_clevr(tmp_path, schema=objects_schema(SETTINGS))
    assert sample.scene.positions_m() == pytest.approx(made.scene.positions_m())
    assert [item.label for item in sample.scene.objects] == [item.label for item in made.scene.objects]
    for one, other in zip(sample.scene.objects, made.scene.objects):
        assert math.remainder(one.yaw_rad - other.yaw_rad, 2 * math.pi) == pytest.approx(0, abs=1e-9)
