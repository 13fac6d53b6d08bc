"""Drawings over real DDS: of which scene, for which camera, and what is explained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fake_pipeline import NOMINAL, write_model

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FakeNode, Tester, pixels  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Render  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from kyvo_ros.ros.conversions import image_from_msg  # noqa: E402


@pytest.fixture(scope="module")
def render(tester: Tester) -> Callable[..., Render.Response]:
    client = tester.node.create_client(Render, "render")
    yield lambda scene=None: tester.call(client, Render.Request(scene=scene or SceneGraph()))
    tester.node.destroy_client(client)


def _said(response: Render.Response) -> tuple[int, list[int]]:
    """Objects that were drawn, and the camera and scale that they were drawn for; see the fake pipeline."""
    assert response.success and response.message == ""
    picture = image_from_msg(response.image)
    assert picture.shape == (10, 16, 3)
    return int(picture[0, 0, 0]), picture[0, 1].tolist()


def test_the_latest_scene_is_drawn_for_its_camera(node, tester, render) -> None:
    scene = tester.answer(pixels((2, 0, 0)))
    response = render()
    assert _said(response) == (2, [round(NOMINAL.distance_m), round(100 * NOMINAL.elevation_rad), 100])
    assert response.image.header.stamp == scene.header.stamp and response.image.header.frame_id == "camera"
    assert tester.set_parameters(plane_distance_m=2.0, scale="distance", output_frame="support_plane") == ""
    tester.answer(pixels((3, 0, 0)))
    response = render()
    assert _said(response) == (3, [2, round(100 * NOMINAL.elevation_rad), round(200 / NOMINAL.distance_m)])
    assert response.image.header.frame_id == "camera", "a picture belongs to its camera, whatever the scene's frame"


def test_a_scene_of_the_caller_s_own_is_drawn(node, tester, render) -> None:
    scene = tester.answer(pixels((3, 0, 0)))
    tester.answer(pixels((1, 0, 0)))
    assert _said(render(scene))[0] == 3
    del scene.objects[1:]
    scene.header.stamp.sec = 7
    response = render(scene)
    assert _said(response)[0] == 1 and response.image.header.stamp.sec == 7


def test_before_any_scene_one_that_is_given_is_drawn_for_the_nominal_camera(node, tester, tmp_path) -> None:
    assert tester.set_parameters(output_frame="support_plane") == ""
    scene = tester.answer(pixels((2, 0, 0)))
    with Tester("/early") as early, FakeNode(early, tmp_path / "early.log", ready=False):
        client = early.node.create_client(Render, "render")
        early.wait(lambda: early.values().get("model") == "fake", "the model")
        assert "no scene has been recognised yet" in early.call(client, Render.Request()).message
        assert _said(early.call(client, Render.Request(scene=scene)))[0] == 2


def test_what_cannot_be_drawn_is_explained(node, tester, render, model_folder) -> None:
    scene = tester.answer()
    scene.header.frame_id = "kitchen"
    response = render(scene)
    assert not response.success and "frame 'kitchen' is not known" in response.message and response.image == Image()
    assert tester.set_parameters(model=write_model(model_folder, "blind", draws=False)) == ""
    tester.wait(lambda: tester.values().get("model") == "blind", "the other model")
    response = render()
    assert not response.success and "not trained for task 3->I" in response.message and response.image == Image()
