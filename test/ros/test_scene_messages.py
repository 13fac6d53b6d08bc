"""Scenes as messages: the graph and back, detections, markers, images and diagnostics."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from kyvo_ros.ros.conversions import image_from_msg, image_to_msg, place  # noqa: E402
from kyvo_ros.ros.conversions.markers import BOXES, LABELS, MarkerBook  # noqa: E402
from kyvo_ros.ros.conversions.prototypes import maker  # noqa: E402
from kyvo_ros.ros.conversions.scenes import (  # noqa: E402
    scene_from_graph_msg,
    scene_to_detections_msg,
    scene_to_graph_msg,
)
from kyvo_ros.ros.diagnostics import reports_to_msg  # noqa: E402
from kyvo_ros.ros.status import ERROR, WARN, StageReport, Status  # noqa: E402
from kyvo_ros.scene import PLANE_FRAME, PlaneCamera, Relation, Scene, SceneError, SceneObject, Transform  # noqa: E402

HEADER = Header(stamp=Time(sec=7, nanosec=5), frame_id="world")
OPTICAL_T_PLANE = PlaneCamera(5.0, 0.6).plane_T_optical().inverse()
WORLD_T_PLANE = Transform.from_yaw(0.8, np.array([1.0, 2.0, 0.5]))


def _object(name: str, shape: str = "cube", x: float = 0.0, yaw: float | None = 0.3, **fields) -> SceneObject:
    words = {"size": "large", "color": "red", "material": "rubber", "shape": shape}
    values = {"size_m": [0.5, 0.6, 0.7], "confidence": 0.75, "attribute_confidence": {"color": 0.5},
              "position_covariance_m2": np.diag([0.01, 0.02, 0.0])}
    return SceneObject(words, [x, 0.2, 0.35], yaw, id=name, **{**values, **fields})


SCENE = Scene([_object("object_0", depth_points=41), _object("object_4", "sphere", 1.0, None)], stamp_ns=7 * 10**9 + 5)


def test_a_scene_survives_the_round_trip_through_a_frame_with_z_up() -> None:
    message = scene_to_graph_msg(place(SCENE, WORLD_T_PLANE), [Relation(0, "left", 1)], HEADER)
    back, expected = scene_from_graph_msg(message), SCENE.transformed(WORLD_T_PLANE, "world")
    assert (back.frame_id, back.stamp_ns) == ("world", SCENE.stamp_ns)
    for found, true in zip(back.objects, expected.objects, strict=True):
        assert dict(found.attributes) == dict(true.attributes) and found.id == true.id
        assert np.allclose(found.position_m, true.position_m)
        assert np.allclose(found.position_covariance_m2, true.position_covariance_m2)
        assert np.allclose(found.size_m, true.size_m, atol=1e-6)
        assert found.confidence == pytest.approx(true.confidence) and found.depth_points == true.depth_points
        assert (found.yaw_rad is None) == (true.yaw_rad is None)
        assert true.yaw_rad is None or found.yaw_rad == pytest.approx(true.yaw_rad)
    assert [(r.subject_id, r.predicate, r.object_id) for r in message.relations] == [("object_0", "left", "object_4")]
    assert [(a.name, a.value, a.score) for a in message.objects[0].attributes][1:3] == [
        ("color", "red", 0.5), ("material", "rubber", 1.0)]


def test_a_tilted_scene_says_that_it_needs_a_frame_with_z_up() -> None:
    message = scene_to_graph_msg(place(SCENE, OPTICAL_T_PLANE), [], HEADER)
    with pytest.raises(SceneError, match="output frame with z up"):
        scene_from_graph_msg(message)


def test_what_is_unknown_is_said_as_documented() -> None:
    plain = Scene([_object("a", size_m=None, position_covariance_m2=None)])
    item = scene_to_graph_msg(place(plain, Transform.identity()), [], HEADER).objects[0]
    assert not np.any(item.pose.covariance) and (item.size.x, item.size.y, item.size.z) == (0, 0, 0)
    back = scene_from_graph_msg(scene_to_graph_msg(place(plain, Transform.identity()), [], HEADER))
    assert back.objects[0].size_m is None and back.objects[0].position_covariance_m2 is None


def test_an_empty_scene_is_a_message_too() -> None:
    assert scene_from_graph_msg(scene_to_graph_msg([], [], HEADER)).objects == ()
    assert scene_to_detections_msg([], HEADER).detections == []


def test_detections_carry_one_result_the_label_and_full_extents() -> None:
    placed = place(SCENE, OPTICAL_T_PLANE)
    message = scene_to_detections_msg(placed, HEADER)
    first = message.detections[0]
    assert (message.header, first.header, first.id) == (HEADER, HEADER, "object_0")
    (result,) = first.results
    assert result.hypothesis.class_id == "large red rubber cube" and result.hypothesis.score == 0.75
    assert (first.bbox.size.x, first.bbox.size.y, first.bbox.size.z) == (0.5, 0.6, 0.7)
    q, p = first.bbox.center.orientation, first.bbox.center.position
    turned = Transform.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([p.x, p.y, p.z]))
    expected = OPTICAL_T_PLANE @ SCENE.objects[0].pose()
    assert np.allclose(turned.matrix(), expected.matrix())
    assert result.pose.pose == first.bbox.center


def _keys(message, action: int) -> set[tuple[str, int]]:
    return {(m.ns, m.id) for m in message.markers if m.action == action}


def test_markers_keep_their_keys_and_what_vanished_is_deleted_once() -> None:
    book = MarkerBook()
    two, one, other = (Scene([_object(name) for name in names]) for names in (("a", "b"), ("b",), ("b", "c")))
    both = {(BOXES, 0), (LABELS, 0), (BOXES, 1), (LABELS, 1)}
    updates = [book.update(place(s, Transform.identity()), HEADER, 0.0) for s in (two, two, one, one, other)]
    assert _keys(updates[0], Marker.ADD) == _keys(updates[1], Marker.ADD) == both
    assert _keys(updates[2], Marker.ADD) == {(BOXES, 1), (LABELS, 1)}
    assert [_keys(u, Marker.DELETE) for u in updates] == [set(), set(), {(BOXES, 0), (LABELS, 0)}, set(), set()]
    assert _keys(updates[4], Marker.ADD) == {(BOXES, 1), (LABELS, 1), (BOXES, 2), (LABELS, 2)}
    assert not any(m.action == Marker.DELETEALL for u in updates for m in u.markers)
    assert _keys(book.clear(HEADER), Marker.DELETE) == {(BOXES, 1), (LABELS, 1), (BOXES, 2), (LABELS, 2)}
    assert book.clear(HEADER).markers == []


def test_markers_show_shape_colour_size_and_lifetime() -> None:
    scene = Scene([_object(shape, shape) for shape in ("cube", "sphere", "cylinder", "pyramid")])
    message = MarkerBook().update(place(scene, OPTICAL_T_PLANE), HEADER, 1.25)
    bodies = [m for m in message.markers if m.ns == BOXES]
    labels = [m for m in message.markers if m.ns == LABELS]
    assert [m.type for m in bodies] == [Marker.CUBE, Marker.SPHERE, Marker.CYLINDER, Marker.CUBE]
    assert (bodies[0].scale.x, bodies[0].scale.y, bodies[0].scale.z) == (0.5, 0.6, 0.7)
    assert all(0 <= v <= 1 for m in bodies for v in (m.color.r, m.color.g, m.color.b, m.color.a))
    assert bodies[0].color.r > bodies[0].color.g and bodies[0].color.a > 0
    assert all((m.lifetime.sec, m.lifetime.nanosec) == (1, 250_000_000) for m in message.markers)
    assert labels[0].text == "large red rubber cube 0.75" and labels[0].type == Marker.TEXT_VIEW_FACING
    above = np.array([labels[0].pose.position.x, labels[0].pose.position.y, labels[0].pose.position.z])
    plane_T_optical = OPTICAL_T_PLANE.inverse()
    assert plane_T_optical.apply(above)[2] > 0.7, "the label stands over the object, also in an optical frame"


def test_a_scene_comes_back_from_an_optical_frame() -> None:
    message = scene_to_graph_msg(place(SCENE, OPTICAL_T_PLANE), [], Header(stamp=HEADER.stamp, frame_id="camera"))
    back = scene_from_graph_msg(message, OPTICAL_T_PLANE.inverse(), PLANE_FRAME)
    assert (back.frame_id, back.stamp_ns) == (PLANE_FRAME, SCENE.stamp_ns)
    for found, true in zip(back.objects, SCENE.objects, strict=True):
        assert np.allclose(found.position_m, true.position_m)
        assert np.allclose(found.position_covariance_m2, true.position_covariance_m2)
        assert (found.yaw_rad is None) == (true.yaw_rad is None)
        assert true.yaw_rad is None or found.yaw_rad == pytest.approx(true.yaw_rad)


def test_an_object_without_a_pose_is_named() -> None:
    message = scene_to_graph_msg(place(SCENE, WORLD_T_PLANE), [], HEADER)
    message.objects[1].pose.pose.orientation.w = message.objects[1].pose.pose.orientation.z = 0.0
    with pytest.raises(SceneError, match="object 'object_4' has no pose"):
        scene_from_graph_msg(message)


def test_messages_of_a_prototype_equal_constructed_ones_and_keep_their_fields_apart() -> None:
    make = maker(Marker)
    first, second = make(header=HEADER, ns="a", id=3), make(ns="b")
    assert first == Marker(header=HEADER, ns="a", id=3) and second == Marker(ns="b") and make() == Marker()
    with pytest.raises(AttributeError, match="nmae"):
        make(nmae="a")


def test_images_survive_the_round_trip() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    message = image_to_msg(pixels, HEADER)
    assert (message.encoding, message.step, message.header) == ("rgb8", 27, HEADER)
    assert np.array_equal(image_from_msg(message), pixels)
    with pytest.raises(ValueError, match="expected an RGB image"):
        image_to_msg(pixels.astype(float), HEADER)


def test_diagnostics_hold_one_summary_and_every_stage() -> None:
    status = Status()
    status.dropped("bad_image", "unknown encoding; set rgb8")
    model = StageReport("model", WARN, "loading the model", 3.0)
    report = status.report({"model": model})
    message = reports_to_msg({"": (report, {"scale": "units"})}, "/robot/kyvo_node", "cpu", {"model": "m"}, Time(sec=3))
    summary = message.status[0]
    assert summary.name == "/robot/kyvo_node" and summary.level == DiagnosticStatus.ERROR
    assert summary.message == "image: unknown encoding; set rgb8" and summary.hardware_id == "cpu"
    values = {v.key: v.value for v in summary.values}
    assert values["model"] == "m" and values["scale"] == "units" and values["dropped: bad_image"] == "1"
    stages = {s.name.split(": ")[1]: s for s in message.status[1:]}
    assert stages["image"].level == DiagnosticStatus.ERROR and stages["model"].level == DiagnosticStatus.WARN
    assert stages["model"].values[0].value == "3.0" and stages["inference"].level == DiagnosticStatus.OK
    assert ERROR == int.from_bytes(DiagnosticStatus.ERROR, "little") and math.isfinite(message.header.stamp.sec)


def test_diagnostics_of_several_cameras_hold_the_model_once_and_a_summary_of_each() -> None:
    good, bad = Status(), Status()
    good.frame_done(0.1, 0.1, 2)
    bad.dropped("bad_image", "unknown encoding; set rgb8")
    reports = {"front": (good.report(), {"image topic": "/front/image"}), "left": (bad.report(), {})}
    message = reports_to_msg(reports, "/kyvo_node", "cpu", {"model": "m"}, Time())
    names = [s.name.removeprefix("/kyvo_node") for s in message.status]
    stages = ["image", "camera_info", "transforms", "depth", "inference"]
    assert names == ["", ": model", *(f": {name}{stage}" for name in ("front", "left")
                                      for stage in ("", *(f": {stage}" for stage in stages)))]
    said = {s.name.removeprefix("/kyvo_node"): (s.level, s.message) for s in message.status}
    assert said[""] == (DiagnosticStatus.ERROR, "left: image: unknown encoding; set rgb8")
    assert said[": front"] == (DiagnosticStatus.OK, "running") and said[": left"][0] == DiagnosticStatus.ERROR
    figures = {v.key: v.value for v in message.status[0].values}
    assert (figures["model"], figures["cameras"], figures["frames published"]) == ("m", "front, left", "1")
    assert ("image topic", "/front/image") in {(v.key, v.value) for v in message.status[2].values}
