"""Starting and ending the node as a process: parameters of the start, starvation, the real pipeline, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

import rclpy  # noqa: E402
from fake_pipeline import write_model  # noqa: E402
from harness import FAKE_NODE, WHITE, FakeNode, Tester, calibration, stamp  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Recognize  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import CameraInfo, CompressedImage, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from kyvo_ros.ros.children import Child  # noqa: E402
from kyvo_ros.ros.parameters import NodeParameters  # noqa: E402
from kyvo_ros.ros.settings import SettingError  # noqa: E402

WARN, ERROR = 1, 2


@pytest.fixture(scope="module")
def third(tester) -> Iterator[Tester]:
    with Tester("/third") as made:
        yield made


@contextmanager
def _stranger() -> Iterator[Node]:
    """A node in a DDS participant of its own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("stranger", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_starvation_names_the_topic_and_what_could_be_meant(third, tmp_path: Path) -> None:
    arguments = ("-r", "image:=nothing_here", "-r", "camera_info:=kept_info", "-p", "input_timeout_s:=1.0")
    with FakeNode(third, tmp_path / "log", arguments, ready=False) as node:
        third.wait(lambda: ("kyvo_node", "/third") in third.node.get_node_names_and_namespaces(), "the node")
        computed_s = _computed_s(node.child.process.pid)
        third.wait_said(WARN, "waiting for the first image on /third/nothing_here")
        message = third.wait_said(WARN, "/third/image")
        assert "nobody publishes it" in message and "topics with sensor_msgs/msg/Image: " in message
        assert "waiting for camera_info" in third.statuses()["camera_info"][1]
        with _stranger() as stranger:  # Fast DDS allows one type a topic in a process
            stranger.create_publisher(CompressedImage, "/third/nothing_here", 1)
            third.wait_said(WARN, "it carries sensor_msgs/msg/CompressedImage instead of sensor_msgs/msg/Image")
        silent = third.node.create_publisher(Image, "nothing_here", qos_profile_sensor_data)
        third.wait_said(WARN, "1 publisher(s) but no message")
        third.node.destroy_publisher(silent)
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        sensor, third.infos = third.infos, third.node.create_publisher(CameraInfo, "kept_info", kept)
        third.infos.publish(calibration("camera"))
        third.wait(lambda: third.statuses()["camera_info"][0] == 0, "the calibration that was published once")
        third.node.destroy_publisher(third.infos)
        third.infos = sensor
        node.child.process.send_signal(signal.SIGTERM)
        assert node.child.process.wait(40.0) == 0
    assert computed_s < 6.0, "on the graph soon (after 2 s on an idle machine)"


def _computed_s(process: int) -> float:
    """The time that a process has spent on cores, which does not depend on what else runs there."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_neither_a_load_nor_a_call_that_nobody_waits_for_any_more_holds_up_the_end(third, tmp_path: Path) -> None:
    slow = write_model(tmp_path / "model", "slow", load_s=60.0)  # the call waits behind it until the end
    arguments = ("-p", f"model:={slow}", "-p", "service_timeout_s:=0.1")
    with FakeNode(third, tmp_path / "log", arguments, ready=False) as node:
        response = third.call(third.recognize, Recognize.Request())
        assert not response.success and "service_timeout_s = 0.1" in response.message
        node.child.process.send_signal(signal.SIGINT)
        # Here it takes two seconds, after five `ros2 launch` sends the next signal; a busy machine has more patience.
        assert node.child.process.wait(15.0) == 0
        assert "leaving while the model loads" in node.log.read_text()
        third.wait(lambda: ("kyvo_node", "/third") not in third.node.get_node_names_and_namespaces(), "its end")


def test_compressed_images(third, tmp_path: Path) -> None:
    images = third.node.create_publisher(CompressedImage, "image/compressed", qos_profile_sensor_data)
    data = cv2.imencode(".jpg", WHITE)[1].tobytes()
    third.forget()
    with FakeNode(third, tmp_path / "log", ("-p", "image_transport:=compressed"), ready=False):
        third.wait(images.get_subscription_count, "the node to listen")

        def send() -> bool:
            third.infos.publish(calibration("camera"))
            header = Header(frame_id="camera", stamp=stamp(third.next_stamp()))
            images.publish(CompressedImage(header=header, format="jpeg", data=data))
            time.sleep(0.1)
            return bool(third.heard["scene"])
        third.wait(send, "a scene")
        bad = CompressedImage(header=Header(frame_id="camera"), format="jpeg", data=b"nonsense")
        third.wait_said(ERROR, "cannot decode a compressed image of format 'jpeg'", lambda: images.publish(bad))
    third.node.destroy_publisher(images)


def test_a_reliable_node_says_that_a_best_effort_camera_does_not_match(third, tmp_path: Path) -> None:
    third.forget()
    with FakeNode(third, tmp_path / "log", ("-p", "image_qos:=reliable"), ready=False):
        message = third.wait_said(WARN, "the publisher's QoS does not match", third.send_image)
        assert "RELIABILITY" in message and "set image_qos to sensor_data" in message
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        reliable = third.node.create_publisher(Image, "image", qos)
        sensor, third.images = third.images, reliable
        try:
            third.wait(reliable.get_subscription_count, "the node to listen")
            third.answer(info=calibration("camera"))
        finally:
            third.images = sensor
            third.node.destroy_publisher(reliable)


def test_a_bad_start_value_ends_the_node_with_one_line(tester, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Child([*FAKE_NODE, "--ros-args", "-p", "scale:=distance"], log) as child:
        assert child.process.wait(60.0) == 2
    text = log.read_text()
    assert "scale 'distance' needs the distance to the plane" in text and "correct the parameter file" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("name, value", [("confidence_threshold", 2.0), ("threads", "many"), ("threads", -1),
                                         ("image_transport", "theora"), ("tf_buffer_s", 0.0)])
def test_start_values_are_checked_like_all_others(tester, name: str, value) -> None:
    overrides = [Parameter(name, value=value)]
    node = rclpy.create_node("checked", parameter_overrides=overrides, start_parameter_services=False)
    with pytest.raises(SettingError, match=name):
        NodeParameters(node, lambda old, new: None)
    node.destroy_node()


@pytest.mark.timeout(300)  # the node imports torch
def test_the_real_pipeline_with_a_tiny_model(third, tmp_path: Path) -> None:
    tiny_model = pytest.importorskip("tiny_model")
    from kyvo_ros.model.folder import save_model
    save_model(tmp_path / "tiny", tiny_model.tiny_bundle())
    command = (sys.executable, "-m", "kyvo_ros.ros.node")
    third.forget()
    arguments = ("-p", f"model:={tmp_path / 'tiny'}", "-p", "output_frame:=support_plane", "-p", "device:=cpu")
    with FakeNode(third, tmp_path / "log", arguments, ready=False, command=command) as node:
        third.wait(lambda: third.statuses().get("model", (9, ""))[0] == 0, "the model", 200.0)
        third.wait(third.infos.get_subscription_count, "the node to listen")
        noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), dtype=np.uint8)
        scene = third.answer(noise, calibration("camera"))
        assert isinstance(scene, SceneGraph) and scene.header.frame_id == "support_plane"
        assert all(0 <= o.score <= 1 and {a.name for a in o.attributes} == {"size", "color", "material", "shape"}
                   for o in scene.objects)
        broken = tmp_path / "broken"
        broken.mkdir()
        (broken / "config.json").write_text("{")
        assert third.set_parameters(model=str(broken)) == ""
        third.wait_said(WARN, "config.json", third.send_image)
        third.answer()
        assert node.child.end() == 0, (tmp_path / "log").read_text()


def test_sigint_ends_it_cleanly_in_the_middle_of_a_frame(third, tmp_path: Path) -> None:
    third.forget()
    slow = write_model(tmp_path / "model", "slow", latency_s=3.0)
    with FakeNode(third, tmp_path / "log", ("-p", f"model:={slow}"), ready=False) as node:
        third.wait(lambda: third.values().get("model") == "slow", "the model")
        third.begin(tmp_path / "model", calibration("camera"))
        assert node.child.end(20.0) == 0
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text and "terminate" not in text, text


def test_help_for_the_parameters_prints_a_table() -> None:
    command = [sys.executable, "-m", "kyvo_ros.ros.parameters"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 0 and "| `model` | string |" in done.stdout
