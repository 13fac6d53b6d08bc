"""What a camera shows, by points and boxes at the borders of a hand-made camera."""

from __future__ import annotations

import math

import numpy as np

from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, SceneObject
from kyvo_ros.scene.visibility import is_seen, is_wholly_seen

#: Looks down by 45 degrees from 10 m: at the origin's depth a metre to the right is 10 pixels, and 5 m are seen.
VIEW = CameraView(PinholeCamera(100, 100, 100.0, 100.0, 50.0, 50.0), PlaneCamera(10.0, math.pi / 4))


def test_points_in_an_image() -> None:
    assert is_seen(np.array([[4.9, 0.0, 0.0]]), VIEW) and not is_seen(np.array([[5.1, 0.0, 0.0]]), VIEW)
    assert not is_seen(np.array([[0.0, 0.0, 0.0], [5.1, 0.0, 0.0]]), VIEW)  # one outside is enough
    assert not is_seen(np.array([[0.0, -40.0, 0.0]]), VIEW)  # behind the camera


def test_the_whole_box_or_the_centre_of_an_unknown_size() -> None:
    assert is_wholly_seen(SceneObject({}, [4.0, 0.0, 0.0], size_m=[0.5] * 3), VIEW)
    assert not is_wholly_seen(SceneObject({}, [4.7, 0.0, 0.0], size_m=[0.5] * 3), VIEW)
    assert is_wholly_seen(SceneObject({}, [4.7, 0.0, 0.0]), VIEW)
    quarter = SceneObject({}, [4.5, 0.0, 0.0], yaw_rad=math.pi / 4, size_m=[0.7, 0.7, 0.1])
    assert is_wholly_seen(SceneObject({}, [4.5, 0.0, 0.0], size_m=[0.7, 0.7, 0.1]), VIEW)
    assert not is_wholly_seen(quarter, VIEW), "turned, its corner sticks out"
