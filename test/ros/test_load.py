"""Load on one node over DDS: many clients at once, parameters that change while frames come, a camera that dies."""

from __future__ import annotations

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import WHITE, Tester, calibration, image_to_msg, sending  # noqa: E402
from kyvo_msgs.srv import Recognize  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from kyvo_ros.ros.qos import REQUESTS  # noqa: E402

CLIENTS, CHANGES = 50, 30
WARN = 1


def _accounted(tester: Tester) -> int:
    """Images that were neither published nor counted as dropped, by the newest diagnostics."""
    values = tester.values()
    return int(values["images received"]) - int(values["frames published"]) - int(values["frames dropped"])


def test_fifty_clients_are_all_answered_while_frames_come(node, tester) -> None:
    assert tester.set_parameters(service_timeout_s=60.0) == ""
    # Every client hears the answers to all, and by default keeps 10 of them: its own could be pushed out.
    clients = [tester.node.create_client(Recognize, "recognize", qos_profile=REQUESTS) for _ in range(CLIENTS)]
    tester.wait(lambda: all(client.service_is_ready() for client in clients), "the service")
    tester.meet(clients[-1])
    request = Recognize.Request(image=image_to_msg(WHITE[:24, :32], Header(frame_id="caller")),
                                camera_info=calibration("caller", width=32, height=24))
    with sending(tester.send_image, 0.02):
        scenes = len(tester.heard["scene"])
        answers = [client.call_async(request) for client in clients]
        tester.wait(lambda: all(answer.done() for answer in answers), f"{CLIENTS} answers", 60.0)
        tester.wait(lambda: len(tester.heard["scene"]) > scenes, "scenes meanwhile")
    for answer in answers:
        assert answer.result().success and len(answer.result().scene.objects) == 3, answer.result().message
    for client in clients:
        tester.node.destroy_client(client)


def test_parameters_that_change_under_load_lose_no_frame_without_a_word(node, tester) -> None:
    tester.wait(tester.values, "diagnostics")
    failed = tester.values().get("dropped: inference_failed")  # by what other tests did
    with sending(tester.send_image, 0.02):
        for number in range(CHANGES):
            reason = tester.set_parameters(confidence_threshold=0.01 * number, max_rate_hz=float(10 * (number % 7)),
                                           output_frame=("", "support_plane")[number % 2], roi=[number, 0, 0, 0])
            assert reason == ""
            assert "confidence_threshold" in tester.set_parameters(confidence_threshold=2.0)
    tester.forget()
    tester.wait(tester.values, "diagnostics")
    tester.wait(lambda: _accounted(tester) == 0, "every image to be accounted for")
    assert tester.values().get("dropped: inference_failed") == failed


def test_a_camera_dies_and_returns(node, tester) -> None:
    assert tester.set_parameters(input_timeout_s=0.3) == ""
    tester.answer()
    tester.node.destroy_publisher(tester.images)
    try:
        tester.wait_said(WARN, "nobody publishes it")
    finally:
        tester.images = tester.node.create_publisher(Image, "image", qos_profile_sensor_data)
    tester.answer()
    assert tester.set_parameters(input_timeout_s=5.0) == ""
    tester.wait_said(0, "running", tester.send_image)
