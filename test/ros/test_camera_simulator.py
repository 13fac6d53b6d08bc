"""The camera simulator: plays a recording as a camera would, over DDS."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from kyvo_ros.ros.camera_simulator import CameraSimulator, RecordingError, read_recording  # noqa: E402
from kyvo_ros.ros.frames import stamp_to_ns  # noqa: E402

RECORDING = Path(__file__).resolve().parents[2] / "demo" / "recording"
IMAGES = 12


def _play(tester, kind: type, topic: str, images: int, ends: bool = False, **parameters) -> list:
    """What a subscriber hears, so many images at least; then the simulator is ended, or else `ends` by itself."""
    overrides = [Parameter(name, value=value) for name, value in {"bag": str(RECORDING), **parameters}.items()]
    simulator = CameraSimulator(parameter_overrides=overrides)
    tester.heard[topic].clear()
    thread = threading.Thread(target=simulator.play, daemon=True)
    thread.start()
    time.sleep(0.2)
    subscription = tester.listen(kind, topic, QoSProfile(depth=1000))
    tester.wait(lambda: len(tester.heard[topic]) >= images, f"{images} images")
    if not ends:
        simulator.stop.set()
    thread.join(30.0)
    assert not thread.is_alive()
    tester.node.destroy_subscription(subscription)
    simulator.destroy_node()
    return list(tester.heard[topic])


def test_it_waits_for_a_listener_plays_once_and_ends(tester) -> None:
    heard = _play(tester, CompressedImage, "/camera/image/compressed", IMAGES, ends=True, frame_rate_hz=40.0)
    stamps = [stamp_to_ns(m.header.stamp) for m in heard]
    assert len(stamps) == IMAGES and stamps == sorted(set(stamps))
    assert all(m.header.frame_id == "camera_optical_frame" and "jpeg" in m.format for m in heard)


def test_a_loop_jumps_back_and_a_continuous_one_goes_on(tester) -> None:
    topic = "/camera/image/compressed"
    for continuous in (False, True):
        heard = _play(tester, CompressedImage, topic, IMAGES + 4, frame_rate_hz=60.0, loop=True, continuous=continuous)
        stamps = [stamp_to_ns(m.header.stamp) for m in heard]
        assert (stamps == sorted(stamps)) == continuous and bytes(heard[IMAGES].data) == bytes(heard[0].data)


def test_pictures_can_be_sent_raw(tester) -> None:
    heard = _play(tester, Image, "/camera/image", 2, frame_rate_hz=20.0, raw=True)
    assert all((m.width, m.height, m.encoding) == (320, 240, "rgb8") for m in heard)


def test_the_recorded_times_are_kept(tester) -> None:
    start = time.monotonic()
    _play(tester, CompressedImage, "/camera/image/compressed", 3)
    assert time.monotonic() - start > 1.0, "images are half a second apart"


def test_a_folder_without_a_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="give the folder of a rosbag2"):
        read_recording(tmp_path)
