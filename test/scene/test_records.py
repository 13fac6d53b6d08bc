"""Scenes as JSON and back."""

import json

import numpy as np
import pytest

from kyvo_ros.scene import Scene, SceneError, SceneObject
from kyvo_ros.scene.records import scene_from_dict, scene_to_dict


def test_round_trip_through_json():
    full = SceneObject({"color": "red", "shape": "cube"}, np.array([1.23456789, -2.0, 0.5]), 0.25, np.ones(3), "7",
                       0.75, {"color": 0.9}, np.diag([0.01, 0.02, 0.001]))
    bare = SceneObject({"shape": "sphere"}, np.zeros(3))
    scene = Scene([full, bare], "map", 12)
    back = scene_from_dict(json.loads(json.dumps(scene_to_dict(scene), allow_nan=False)))
    assert (back.frame_id, back.stamp_ns, len(back)) == ("map", 12, 2)
    assert back.objects[0].position_m == pytest.approx(full.position_m, abs=1e-6)
    assert scene_to_dict(back) == scene_to_dict(scene)
    assert back.objects[0].position_covariance_m2 == pytest.approx(full.position_covariance_m2)
    assert back.objects[1].yaw_rad is None and back.objects[1].size_m is None


@pytest.mark.parametrize("record", [{}, {"frame_id": "map", "objects": [{"attributes": {}}]},
                                    {"frame_id": "map", "objects": [{"attributes": {}, "position_m": [1, 2]}]},
                                    {"frame_id": "map", "objects": [{"attributes": {}, "position_m": ["a", "b", "c"]}]}])
def test_malformed_records_are_refused(record):
    with pytest.raises(SceneError):
        scene_from_dict(record)


def test_small_covariances_keep_their_digits():
    covariance = np.diag([1.234567891e-7, 2e-9, 3.3e-7])
    thing = SceneObject({"shape": "cube"}, np.zeros(3), position_covariance_m2=covariance)
    back = scene_from_dict(scene_to_dict(Scene([thing])))
    assert back.objects[0].position_covariance_m2 == pytest.approx(covariance, rel=1e-5, abs=0)
