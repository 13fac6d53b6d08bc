"""Whole objects over real DDS: meshes as messages and markers, where objects stand, within a budget of triangles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fake_pipeline import write_model

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import Tester, pixels  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Reconstruct  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from kyvo_ros.data.assets import make_asset  # noqa: E402
from kyvo_ros.ros.conversions.images import image_to_msg  # noqa: E402
from kyvo_ros.ros.conversions.meshes import mesh_from_msg, mesh_to_msg, object_meshes, shape_markers  # noqa: E402
from kyvo_ros.ros.conversions.placing import place  # noqa: E402
from kyvo_ros.scene import Scene, SceneObject, Transform  # noqa: E402
from kyvo_ros.scene.simplification import with_budget  # noqa: E402


@pytest.fixture(scope="module")
def reconstruct(tester: Tester) -> Callable[..., Reconstruct.Response]:
    client = tester.node.create_client(Reconstruct, "reconstruct")
    yield lambda **fields: tester.call(client, Reconstruct.Request(**fields))
    tester.node.destroy_client(client)


def test_meshes_survive_their_messages_and_keep_to_the_budget() -> None:
    mesh = make_asset("mug", 0)
    again = mesh_from_msg(mesh_to_msg(mesh))
    assert np.array_equal(again.vertices, mesh.vertices) and np.array_equal(again.faces, mesh.faces)
    objects = (SceneObject({"category": "mug"}, [1, 2, 3], 0.5, [1, 1, 1], id="a", mesh=mesh),
               SceneObject({"category": "mug"}, [0, 0, 0], id="b"))
    small_scene = with_budget(Scene(objects), 300)
    placed = place(small_scene, Transform.identity())
    (sent,) = object_meshes(placed)
    small = mesh_from_msg(sent.mesh, sent.colors)
    assert sent.id == "a" and 4 <= len(small.faces) <= 300 and small.bounds == pytest.approx(mesh.bounds, abs=0.1)
    assert len(sent.colors) == len(small.vertices) and small.colors.std() > 0
    first, shown = shape_markers(placed, Header(frame_id="map")).markers
    assert first.action == Marker.DELETEALL and shown.type == Marker.TRIANGLE_LIST and shown.header.frame_id == "map"
    assert len(shown.points) == len(shown.colors) == 3 * len(small.faces)
    assert (shown.pose.position.x, shown.pose.position.y, shown.pose.position.z) == (1.0, 2.0, 3.0)
    assert shown.scale.x == 1.0 and shown.pose.orientation.z == pytest.approx(np.sin(0.25))


def test_whole_objects_of_the_newest_image_and_of_a_given_one(node, tester, reconstruct) -> None:
    subscription = tester.listen(MarkerArray, "shape_markers")
    scene = tester.answer(pixels((3, 0, 0)))
    response = reconstruct()
    assert response.success and response.message == "" and response.scene.header == scene.header
    assert [mesh.id for mesh in response.scene.meshes] == [item.id for item in response.scene.objects[:2]]
    for mesh, item in zip(response.scene.meshes, response.scene.objects):
        corners = np.array([[p.x, p.y, p.z] for p in mesh.mesh.vertices])
        assert np.ptp(corners, axis=0) == pytest.approx([item.size.x, item.size.y, item.size.z])
        assert len(mesh.mesh.triangles) == 4 and mesh.colors[0].r == 1.0 and mesh.colors[0].g == 0.0
    tester.wait(lambda: tester.heard["shape_markers"], "markers")
    markers = tester.heard["shape_markers"][-1].markers
    assert [m.type for m in markers[1:]] == [Marker.TRIANGLE_LIST] * 2 and len(markers[1].points) == 12
    given = reconstruct(image=image_to_msg(pixels((2, 0, 0)), Header(frame_id="camera")), max_triangles=4)
    assert given.success and len(given.scene.objects) == 2 and len(given.scene.meshes) == 1
    tester.node.destroy_subscription(subscription)


def test_what_cannot_be_reconstructed_is_explained(node, tester, reconstruct, model_folder) -> None:
    tester.answer()
    for budget in (3, 20_001):
        response = reconstruct(max_triangles=budget)
        assert not response.success and "max_triangles must be 0 or from 4 to 20000" in response.message
    assert tester.set_parameters(model=write_model(model_folder, "flat", draws=False)) == ""
    tester.wait(lambda: tester.values().get("model") == "flat", "the other model")
    response = reconstruct()
    assert not response.success and "not trained for task I->S" in response.message
    assert response.scene == SceneGraph()
