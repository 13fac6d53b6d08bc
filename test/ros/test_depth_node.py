"""The node with depth over real DDS: scenes refined by it, diagnostics that tell of it, and frames without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

import numpy as np  # noqa: E402
from fake_pipeline import NOMINAL  # noqa: E402
from harness import FakeNode, Tester, stamp  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from test_several_cameras import Eye  # noqa: E402
from test_depth import LENS, table_scene  # noqa: E402

from kyvo_ros.ros.depth import DepthStore  # noqa: E402
from kyvo_ros.ros.depth_input import DepthInput  # noqa: E402
from kyvo_ros.ros.settings import Settings  # noqa: E402
from kyvo_ros.scene import CameraView, PlaneCamera  # noqa: E402

OK, WARN = 0, 1
VIEW = CameraView(LENS, PlaneCamera(NOMINAL.distance_m, NOMINAL.elevation_rad + 0.1))
ARGUMENTS = ("-p", "depth_source:=image", "-p", "output_frame:=support_plane", "-p", "depth_timeout_s:=1.0",
             "-p", "input_timeout_s:=1.0")


@pytest.fixture(scope="module")
def deep(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tester]:
    """A tester beside a node with depth, both in a namespace of their own."""
    with Tester("/deep") as made, FakeNode(made, tmp_path_factory.mktemp("deep") / "log", ARGUMENTS):
        yield made


def depth_message(depth_m: np.ndarray, stamp_ns: int, frame_id: str = "camera") -> Image:
    height, width = depth_m.shape
    data = np.nan_to_num(depth_m, posinf=0).astype("<f4").tobytes()
    return Image(header=Header(stamp=stamp(stamp_ns), frame_id=frame_id), height=height, width=width, encoding="32FC1",
                 step=4 * width, data=list(data))


def test_depth_that_never_comes_is_named_and_frames_go_on_without(deep: Tester) -> None:
    message = deep.wait_said(WARN, "waiting for the first depth on /deep/depth: nobody publishes it", deep.send_image)
    assert message.startswith("depth: ") and "remap depth to the camera's topic" in message
    assert not any(o.depth_points for o in deep.answer().objects)


def test_depth_refines_what_is_published_and_the_diagnostics_tell_how_well(deep: Tester) -> None:
    publisher = deep.node.create_publisher(Image, "depth", qos_profile_sensor_data)
    deep.wait(publisher.get_subscription_count, "the node to listen to depth")
    message = depth_message(table_scene(VIEW), 0)

    deep.forget()

    def refined() -> list[SceneGraph]:
        stamp_ns = deep.send_image()  # the image comes first, as it does from cameras
        message.header.stamp = stamp(stamp_ns + 5_000_000)
        publisher.publish(message)
        time.sleep(0.05)  # either may be lost
        return [m for m in deep.heard["scene"] if all(o.depth_points for o in m.objects)]
    scene = deep.wait(refined, "a scene refined by depth")[0]
    assert [round(o.pose.pose.position.x, 1) for o in scene.objects] == [-0.8, 1.0, 2.2], "moved by 0.2 m each"

    def figures() -> dict[str, str]:
        refined()
        return deep.values() if deep.values().get("objects refined by depth") == "3 of 3" else {}
    values = deep.wait(figures, "figures")
    assert values["plane from"] == "depth"
    assert float(values["plane inliers [%]"]) > 80 and values["depth topic"] == "/deep/depth"
    deep.node.destroy_publisher(publisher)
    assert deep.wait_said(WARN, "no depth for ", deep.send_image).startswith("depth: ")
    assert not any(o.depth_points for o in deep.answer().objects)


def test_of_several_cameras_each_has_depth_of_its_own(tester: Tester, tmp_path: Path) -> None:
    arguments = ("-p", "cameras:=[front, left]", "-p", "front.depth_source:=image", "-p", "depth_timeout_s:=1.0")
    with Tester("/pair") as rig, FakeNode(rig, tmp_path / "log", arguments, ready=False):
        rig.wait(rig.statuses, "diagnostics")
        front, left = Eye(rig, "front"), Eye(rig, "left")
        publisher = rig.node.create_publisher(Image, "front/depth", qos_profile_sensor_data)
        rig.wait(publisher.get_subscription_count, "the node to listen to depth")
        message = depth_message(table_scene(VIEW), 0, "eye")

        def refined() -> bool:
            message.header.stamp = stamp(front.send())
            publisher.publish(message)
            time.sleep(0.05)
            scenes = rig.heard["front/scene"]
            return bool(scenes) and all(o.depth_points for o in scenes[-1].objects)
        rig.wait(refined, "a scene of front refined by depth")
        assert not any(o.depth_points for o in left.answer().objects)
        figures = rig.wait(lambda: "plane from" in front.figures() and front.figures(), "figures")
        assert figures["depth topic"] == "/pair/front/depth" and left.figures()["depth topic"] == "none"
        assert "plane from" not in left.figures()

        def not_read() -> bool:
            publisher.publish(b"no message")
            time.sleep(0.2)
            return "a message of depth cannot be read" in front.said("depth")[1]
        rig.wait(not_read, "what cannot be read to be named")
        assert front.said("depth")[0] == WARN and left.said("depth")[0] == OK

        assert rig.set_parameters(**{"left.depth_source": "points"}) == ""
        rig.wait(lambda: rig.node.count_subscribers("/pair/left/points"), "left's depth")
        assert rig.set_parameters(**{"front.enabled": False}) == ""
        rig.wait(lambda: not publisher.get_subscription_count(), "front to be let alone")
        rig.node.destroy_publisher(publisher)
        for eye in (front, left):
            eye.close()


def test_nothing_is_subscribed_without_need(tester: Tester) -> None:
    off = DepthInput(tester.node, Settings(), DepthStore())
    assert off.topic == "none" and off.waiting(Settings())["depth"].level == OK
    on = DepthInput(tester.node, Settings(depth_source="points"), DepthStore(), listen=False)
    assert tester.node.count_subscribers(on.topic) == 0
    for change, expected in ((on.open, 1), (on.open, 1), (on.close, 0), (on.close, 0)):
        change()
        tester.wait(lambda: tester.node.count_subscribers(on.topic) == expected, f"{expected} subscription(s)")
