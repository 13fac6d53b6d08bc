"""Scenes and objects: what they hold, how they move between frames, and what they reject."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from kyvo_ros.scene import PLANE_FRAME, Scene, SceneError, SceneObject, Transform


def test_an_object_holds_copies_that_cannot_change() -> None:
    attributes = {"size": "large", "shape": "cube"}
    cube = SceneObject(attributes, [1, 2, 3], 0.5)
    attributes["size"] = "small"
    assert cube.label == "large cube" and cube.position_m.dtype == np.float64
    with pytest.raises(TypeError):
        cube.attributes["size"] = "small"


def test_objects_travel_between_processes() -> None:
    cube = SceneObject({"shape": "cube"}, [1, 2, 3], 0.5, [1, 1, 1], "a", 0.5, {"shape": 0.75}, np.eye(3))
    back = pickle.loads(pickle.dumps(cube))
    assert back.attributes == {"shape": "cube"} and back.attribute_confidence == {"shape": 0.75}
    assert (back.yaw_rad, back.id, back.confidence) == (0.5, "a", 0.5)
    np.testing.assert_array_equal(back.position_m, [1, 2, 3])
    with pytest.raises(TypeError):
        back.attributes["shape"] = "sphere"


def test_the_pose_of_an_object() -> None:
    cube = SceneObject({}, [1.0, 2.0, 3.0], math.pi / 2)
    np.testing.assert_allclose(cube.pose().apply([1.0, 0.0, 0.0]), [1.0, 3.0, 3.0], atol=1e-12)
    np.testing.assert_array_equal(SceneObject({}, [1.0, 2.0, 3.0]).pose().rotation, np.eye(3))


def test_scenes_move_to_other_upright_frames_and_back() -> None:
    covariance = np.diag([4.0, 1.0, 0.25])
    scene = Scene((SceneObject({"shape": "cube"}, [1.0, 0.0, 0.5], 0.2, [1, 2, 3], position_covariance_m2=covariance),
                   SceneObject({"shape": "sphere"}, [0.0, 0.0, 0.5])), stamp_ns=7)
    map_T_plane = Transform.from_yaw(math.pi / 2, [10.0, 0.0, 1.0])
    moved = scene.transformed(map_T_plane, "map")
    assert moved.frame_id == "map" and moved.stamp_ns == 7
    np.testing.assert_allclose(moved.positions_m(), [[10.0, 1.0, 1.5], [10.0, 0.0, 1.5]], atol=1e-12)
    assert moved.objects[0].yaw_rad == pytest.approx(0.2 + math.pi / 2) and moved.objects[1].yaw_rad is None
    np.testing.assert_allclose(moved.objects[0].position_covariance_m2, np.diag([1.0, 4.0, 0.25]), atol=1e-12)
    np.testing.assert_array_equal(moved.objects[0].size_m, [1, 2, 3])
    back = moved.transformed(map_T_plane.inverse(), PLANE_FRAME)
    np.testing.assert_allclose(back.positions_m(), scene.positions_m(), atol=1e-12)
    assert back.objects[0].yaw_rad == pytest.approx(0.2)


def test_scenes_do_not_move_to_tilted_frames() -> None:
    tilted = Transform(np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), np.zeros(3))
    with pytest.raises(SceneError, match="camera does not have z up relative to support_plane"):
        Scene().transformed(tilted, "camera")


def test_an_empty_scene_has_positions_of_the_right_shape() -> None:
    assert Scene().positions_m().shape == (0, 3)


@pytest.mark.parametrize("make, message", [
    (lambda: SceneObject({}, [0.0, 0.0]), "three finite metres"),
    (lambda: SceneObject({}, [0.0, 0.0, np.nan]), "three finite metres"),
    (lambda: SceneObject({}, [0.0, 0.0, 0.0], math.inf), "yaw"),
    (lambda: SceneObject({}, [0.0, 0.0, 0.0], confidence=1.5), "confidence"),
    (lambda: SceneObject({}, [0.0, 0.0, 0.0], confidence=math.nan), "confidence"),
    (lambda: SceneObject({}, [0.0, 0.0, 0.0], size_m=[1.0]), r"size_m must be finite and of shape \(3,\)"),
    (lambda: SceneObject({}, [0.0, 0.0, 0.0], position_covariance_m2=np.eye(2)), "position_covariance_m2"),
    (lambda: Scene(frame_id=""), "name its frame"),
    (lambda: Scene([SceneObject({}, [0.0, 0.0, 0.0], id="cube_1")] * 2), "unique"),
])
def test_what_is_not_well_formed_is_rejected(make, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        make()
