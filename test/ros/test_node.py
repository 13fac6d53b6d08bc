"""The node over real DDS: what comes out, when, in which frame, and what can be changed while it runs."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from fake_pipeline import NOMINAL, OBJECTS, write_model

harness = pytest.importorskip("harness", reason="needs ROS 2")

from builtin_interfaces.msg import Time  # noqa: E402
from harness import S, calibration, pixels, sending, stamp  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Recognize  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from vision_msgs.msg import Detection3DArray  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from kyvo_ros.ros.conversions import image_from_msg, image_to_msg  # noqa: E402
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg  # noqa: E402
from kyvo_ros.scene import PlaneCamera, Transform  # noqa: E402

PLANE = PlaneCamera(11.0, math.radians(30))
WORLD_T_PLANE = Transform.from_yaw(0.7, np.array([3.0, -1.0, 0.0]))


@pytest.fixture(scope="module")
def everything(tester) -> None:
    """Somebody listens to detections, markers and the annotated image."""
    subscriptions = [tester.listen(*a) for a in ((Detection3DArray, "detections"), (MarkerArray, "markers"))]
    yield
    for subscription in subscriptions:
        tester.node.destroy_subscription(subscription)


def test_an_image_becomes_a_scene_detections_and_markers(node, tester, everything) -> None:
    scene = tester.answer()
    stamp_ns = scene.header.stamp.sec * S + scene.header.stamp.nanosec
    assert scene.header.frame_id == "camera"
    assert [o.label for o in scene.objects] == [
        "large red rubber cube", "small blue metal sphere", "large green rubber cylinder"]
    assert len({o.id for o in scene.objects}) == 3 and all(o.score == pytest.approx(0.9) for o in scene.objects)
    assert {a.name: a.value for a in scene.objects[0].attributes} == {k: OBJECTS[0][k] for k in
                                                                     ("size", "color", "material", "shape")}
    first = scene.objects[0].id
    assert any((r.subject_id, r.predicate) == (first, "left") for r in scene.relations)
    detections, = tester.wait(lambda: [m for m in tester.heard["detections"] if m.header == scene.header], "detections")
    assert [d.id for d in detections.detections] == [o.id for o in scene.objects]
    markers = tester.wait(lambda: [m for m in tester.heard["markers"] if m.markers[0].header.stamp == stamp(stamp_ns)],
                          "markers")[0].markers
    assert [(m.ns, m.header.frame_id) for m in markers] == [("objects", "camera"), ("labels", "camera")] * 3


def test_late_comers_get_the_newest_scene_at_once(node, tester) -> None:
    expected = tester.answer()
    late: list = []
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
    subscription = tester.node.create_subscription(SceneGraph, "scene", late.append, kept)
    assert tester.wait(lambda: late, "the kept scene")[0].header == expected.header
    tester.node.destroy_subscription(subscription)


def test_markers_of_what_vanished_are_deleted(node, tester, everything) -> None:
    three, one = tester.answer(pixels((3, 0, 0))), tester.answer(pixels((1, 0, 0)))
    assert (len(three.objects), len(one.objects)) == (3, 1) and one.objects[0].id == three.objects[0].id

    def markers_of(scene):
        return tester.wait(lambda: [m for m in tester.heard["markers"]
                                    if m.markers[-1].header.stamp == scene.header.stamp], "markers")[0].markers
    shown = {(m.ns, m.id) for m in markers_of(three) if m.action == Marker.ADD}
    kept = {(m.ns, m.id) for m in markers_of(one) if m.action == Marker.ADD}
    gone = {(m.ns, m.id) for m in markers_of(one) if m.action == Marker.DELETE}
    assert kept < shown and gone >= shown - kept and not gone & kept


def test_marker_lifetime_is_a_parameter(node, tester, everything) -> None:
    assert tester.set_parameters(marker_lifetime_s=0.5) == ""
    scene = tester.answer()
    found = tester.wait(lambda: [m for m in tester.heard["markers"]
                                 if m.markers[-1].header.stamp == scene.header.stamp], "markers")[0]
    assert {(m.lifetime.sec, m.lifetime.nanosec) for m in found.markers if m.action == Marker.ADD} == {(0, 500_000_000)}


def test_the_annotated_image_is_drawn_only_for_listeners(node, tester) -> None:
    tester.answer()
    subscription = tester.listen(Image, "annotated_image", 1)
    tester.wait(lambda: tester.node.count_publishers("annotated_image"), "the publisher")
    scene = tester.answer()
    picture = tester.wait(lambda: [m for m in tester.heard["annotated_image"]
                                   if m.header.stamp == scene.header.stamp], "the picture")[0]
    drawn = image_from_msg(picture)
    assert picture.header.frame_id == "camera" and drawn.min() < 250, "boxes are drawn on the white image"
    assert drawn.shape[0] / drawn.shape[1] == 240 / 320
    tester.node.destroy_subscription(subscription)


def test_the_support_plane_frame_is_broadcast_at_the_image_s_stamp(node, tester) -> None:
    subscription = tester.listen(TFMessage, "/tf", 10)
    assert tester.set_parameters(output_frame="support_plane") == ""
    scene = tester.answer()
    assert scene.header.frame_id == "support_plane"
    tree = tester.wait(lambda: [m.transforms[0] for m in tester.heard["/tf"]
                                if m.transforms[0].header.stamp == scene.header.stamp], "the transform")[0]
    assert (tree.header.frame_id, tree.child_frame_id) == ("camera", "support_plane")
    t, q = tree.transform.translation, tree.transform.rotation
    optical_T_plane = Transform.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
    assert np.allclose(optical_T_plane.matrix(), NOMINAL.plane_T_optical().inverse().matrix(), atol=1e-6)
    found = scene_from_graph_msg(scene)
    assert found.positions_m()[:, :2].tolist() == [[o["x"], o["y"]] for o in OBJECTS]
    assert tester.set_parameters(support_plane_frame="floor", output_frame="floor") == ""
    assert tester.answer().header.frame_id == "floor"
    tester.node.destroy_subscription(subscription)


def test_tf_is_looked_up_at_the_image_s_stamp_and_waited_for(node, tester) -> None:
    assert tester.set_parameters(plane_frame="world", output_frame="world", tf_timeout_s=2.0) == ""
    tester.wait(lambda: tester.tf.get_subscription_count(), "the node to listen to /tf")
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    statics = tester.node.create_publisher(TFMessage, "/tf_static", latched)  # which no later node is to hear
    tester.send_tf(Transform.identity(), "body", "camera", 0, statics)
    base = WORLD_T_PLANE @ PLANE.plane_T_optical()
    sent: list[Time] = []

    def found() -> list[SceneGraph]:
        first, later = tester.next_stamp(), tester.next_stamp(1.0)
        tester.send_tf(base, "world", "body", first)
        sent.append(stamp(tester.send_image(stamp_ns=(first + later) // 2)))
        time.sleep(0.5)  # the image is there, unless best effort has lost it, and its transform is not
        assert not any(m.header.stamp == sent[-1] for m in tester.heard["scene"])
        tester.send_tf(Transform(base.rotation, base.translation + [2.0, 0.0, 0.0]), "world", "body", later)
        time.sleep(0.5)
        return [m for m in tester.heard["scene"] if m.header.stamp in sent]
    scene = scene_from_graph_msg(tester.wait(found, "a scene")[0])
    tester.node.destroy_publisher(statics)
    expected = WORLD_T_PLANE.apply(np.array([[o["x"], o["y"], 0.0] for o in OBJECTS])) + [1.0, 0.0, 0.0]
    assert scene.frame_id == "world" and np.allclose(scene.positions_m()[:, :2], expected[:, :2], atol=1e-6)


def test_missing_tf_is_named_and_the_node_goes_on(node, tester) -> None:
    assert tester.set_parameters(plane_frame="table", tf_timeout_s=0.05) == ""
    message = tester.wait_said(2, "'table'", tester.send_image)  # tf2_ros says the rest in other words
    assert message.startswith("transforms: TF ")
    assert tester.set_parameters(plane_frame="") == ""
    tester.answer()


def test_the_true_distance_makes_metres(node, tester) -> None:
    assert tester.set_parameters(plane_distance_m=NOMINAL.distance_m / 10, scale="distance",
                                 output_frame="support_plane") == ""
    scene = tester.answer()
    assert scene.objects[0].size.x == pytest.approx(0.14)
    assert scene.objects[0].pose.pose.position.x == pytest.approx(OBJECTS[0]["x"] / 10)


def test_the_confidence_threshold_and_camera_frame_are_parameters(node, tester) -> None:
    assert tester.set_parameters(confidence_threshold=0.95, camera_frame="eye") == ""
    scene = tester.answer()
    assert scene.objects == [] and scene.header.frame_id == "eye"


@pytest.mark.parametrize("values, reason", [
    ({"confidence_threshold": 7.0}, "confidence_threshold"),
    ({"scale": "distance"}, "set plane_frame, plane_distance_m or depth_source"), ({"device": "gpu"}, "device must be auto"),
    ({"image_transport": "compressed"}, "read-only"),
    ({"threads": "two"}, "type"), ({"max_rate_hz": "fast"}, "max_rate_hz must be of type float"),
    ({"model": "/nowhere/at/all"}, "model folder '/nowhere/at/all' does not exist"),
    ({"marker_lifetime_s": 1.0, "scale": "miles"}, "one of units, distance, got 'miles'"),
])
def test_bad_parameters_are_refused_with_the_reason(node, tester, values: dict, reason: str) -> None:
    assert reason in tester.set_parameters(**values)
    tester.answer()


def test_whole_numbers_do_for_real_ones(node, tester) -> None:
    assert tester.set_parameters(max_rate_hz=50) == ""


def test_the_rate_limit_drops_and_counts(node, tester) -> None:
    assert tester.set_parameters(max_rate_hz=4.0) == ""
    tester.answer()
    before = len(tester.heard["scene"])
    start = time.monotonic()
    with sending(tester.send_image, 0.02):
        tester.wait(lambda: len(tester.heard["scene"]) >= before + 9, "nine scenes")
        assert time.monotonic() - start > 1.9, "four a second"
        tester.wait(lambda: int(tester.values().get("dropped: rate_limit", 0)) > 20, "drops by the rate limit")


def test_a_changed_calibration_is_used_and_an_old_one_does_not_expire(node, tester) -> None:
    assert tester.set_parameters(output_frame="support_plane") == ""
    bent = calibration("camera", d=[0.0, 0.0, 0.0, 0.0, 0.0], distortion_model="barrel")
    old = calibration("camera", stamp_ns=1)  # ages older than the images
    tester.answer(info=old)
    tester.wait_said(2, "unknown distortion model 'barrel'", lambda: (tester.infos.publish(bent), tester.send_image()))
    tester.answer(info=old)
    tester.answer()


def test_the_service_answers_while_a_frame_is_computed(node, tester, model_folder) -> None:
    assert tester.set_parameters(model=write_model(model_folder, "slow", latency_s=4.0)) == ""
    tester.wait(lambda: tester.values().get("model") == "slow", "the slow model")
    tester.forget()
    tester.begin(model_folder)
    assert tester.set_parameters(confidence_threshold=0.1) == ""
    assert not tester.heard["scene"], "parameters do not wait for inference"
    request = Recognize.Request(image=image_to_msg(pixels((2, 0, 0)), calibration("other").header))
    request.camera_info = calibration("other")
    answer = tester.call(tester.recognize, request)
    assert answer.success and answer.message == "" and len(answer.scene.objects) == 2
    assert answer.scene.header.frame_id == "other"
    assert len(tester.wait(lambda: tester.heard["scene"], "the frame's scene")[0].objects) == 3


def test_a_model_that_loads_long_is_said_and_stops_nothing_else(node, tester, model_folder) -> None:
    assert tester.set_parameters(model=write_model(model_folder, "big", load_s=5.0)) == ""
    tester.wait_said(1, "model: loading the model")
    assert tester.set_parameters(confidence_threshold=0.2) == ""
    tester.wait(lambda: tester.values()["model"] == "big", "the big model")
    tester.answer()


def test_the_service_takes_the_newest_image_and_says_what_is_wrong(node, tester, model_folder) -> None:
    stamp_ns = tester.answer().header.stamp
    answer = tester.call(tester.recognize, Recognize.Request())
    assert answer.success and answer.scene.header.stamp == stamp_ns
    broken = Recognize.Request(image=Image(width=4, height=4, step=4, encoding="mono8", data=[0] * 3))
    answer = tester.call(tester.recognize, broken)
    assert not answer.success and "data has 3 bytes" in answer.message and not answer.scene.objects
    failing = Recognize.Request(image=image_to_msg(pixels((1, 2, 3)), calibration("camera").header))
    assert "this frame breaks the model" in tester.call(tester.recognize, failing).message
    assert tester.set_parameters(model=write_model(model_folder, "slow", latency_s=1.0), service_timeout_s=0.2) == ""
    tester.wait(lambda: tester.values().get("model") == "slow", "the slow model")
    assert "service_timeout_s = 0.2" in tester.call(tester.recognize, Recognize.Request()).message


def test_diagnostics_name_model_device_rates_and_latency(node, tester) -> None:
    for _ in range(3):
        tester.answer()
    tester.wait_said(0, "running")
    tester.wait(lambda: tester.values()["model"] == "fake", "the default model")
    values = tester.values()
    assert (values["model"], values["device"], values["image topic"]) == ("fake", "cpu", "/image")
    assert float(values["latency p50 [ms]"]) > 0 and float(values["latency p95 [ms]"]) > 0
    ages_ms = [time.time() * 1000 - tester.now_ns / 1e6 - float(values[f"age {p} [ms]"]) for p in ("p50", "p95")]
    assert all(abs(age_ms) < 3.6e6 for age_ms in ages_ms), "stamps of 1970 by a clock of today"
    assert float(values["uptime [s]"]) > 0 and int(values["frames published"]) >= 3
    assert set(tester.statuses()) == {"", "model", "image", "camera_info", "transforms", "depth", "inference"}
    said = tester.wait(lambda: tester.heard["/diagnostics"][5:] and tester.heard["/diagnostics"], "more diagnostics")
    when_s = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in said]
    assert 0.8 < np.median(np.diff(when_s)) < 1.5, "once a second, though a busy machine may be late now and then"
