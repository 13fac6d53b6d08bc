"""`camera_simulator`: plays a rosbag2 as if a camera stood there.

Topics, types, transforms and stamps are the recording's; a folder is read with `rosbags`, so neither rosbag2 nor its
plugins need be installed. Used by the demo, the benchmarks and the tests.
"""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from kyvo_ros.ros.conversions.images import image_from_compressed_msg, image_to_msg

_COMPRESSED = "sensor_msgs/msg/CompressedImage"
_IMAGES = (_COMPRESSED, "sensor_msgs/msg/Image")
_LAST_MESSAGE_S = 0.5  # time for the last message to leave before the publishers go


class RecordingError(ValueError):
    """A folder is no recording that can be played."""


@dataclass(frozen=True)
class Recorded:
    """One message of a recording."""

    when_ns: int
    topic: str
    type_name: str
    data: bytes  # CDR


def read_recording(folder: str | Path) -> list[Recorded]:
    """All messages of a rosbag2 folder in their order. Raises RecordingError."""
    from rosbags.rosbag2 import Reader, ReaderError
    try:
        with Reader(Path(folder)) as reader:
            messages = [Recorded(when, connection.topic, connection.msgtype, bytes(data))
                        for connection, when, data in reader.messages()]
    except (ReaderError, OSError) as error:
        raise RecordingError(f"cannot read the recording '{folder}': {error}; give the folder of a rosbag2") from error
    if not any(m.type_name in _IMAGES for m in messages):
        raise RecordingError(f"the recording '{folder}' has no images")
    return messages


class CameraSimulator(Node):
    """Publishes a recording; its ROS parameters are declared in the constructor."""

    def __init__(self, **options) -> None:
        super().__init__("camera_simulator", start_parameter_services=False, **options)
        self._folder = self._declare("bag", "", "Folder of the rosbag2 to play.")
        self._frame_rate_hz = self._declare("frame_rate_hz", 0.0, "Images a second; 0 keeps the recorded times.")
        self._loop = self._declare("loop", False, "Begin again at the end; the stamps then jump back, as a bag's do.")
        self._continuous = self._declare("continuous", False, "When looping, shift the stamps so that time goes on.")
        self._raw = self._declare("raw", False, "Publish compressed images as sensor_msgs/Image, without /compressed.")
        self._listeners = self._declare("wait_for_subscribers", 1, "Begin when so many listen to the images.")
        self.stop = threading.Event()
        self._messages = [self._loaded(m) for m in read_recording(self._folder)]
        topics = {topic: type(message) for _, topic, message in self._messages}
        self._topic_publishers = {
            topic: self.create_publisher(kind, topic, _qos(topic)) for topic, kind in topics.items()}
        self._image_topics = [t for t, kind in topics.items() if kind.__name__ in ("Image", "CompressedImage")]

    def play(self) -> int:
        """Publish all messages at their times, again and again if asked; returns the number of images sent."""
        images = 0
        while self._heard() < self._listeners and not self.stop.wait(0.05):
            pass
        while not self.stop.is_set():
            images += self._play_once()
            if not self._loop:
                break
            if self._continuous:
                self._shift_stamps()
        self.stop.wait(_LAST_MESSAGE_S)
        return images

    def _play_once(self) -> int:
        images, before_ns = 0, self._messages[0][0]
        for when_ns, topic, message in self._messages:
            is_image = topic in self._image_topics
            pause_s = (when_ns - before_ns) / 1e9
            if self._frame_rate_hz > 0:
                pause_s = 1.0 / self._frame_rate_hz if is_image else 0.0
            if self.stop.wait(max(0.0, pause_s)):
                break
            before_ns = when_ns
            self._topic_publishers[topic].publish(message)
            images += is_image
        return images

    def _shift_stamps(self) -> None:
        """Put all stamps later by the recording's length and a second."""
        length_s = (self._messages[-1][0] - self._messages[0][0]) // 10**9 + 1
        for _, _, message in self._messages:
            for item in message.transforms if hasattr(message, "transforms") else (message,):
                item.header.stamp.sec += length_s

    def _heard(self) -> int:
        return max(self._topic_publishers[topic].get_subscription_count() for topic in self._image_topics)

    def _loaded(self, recorded: Recorded) -> tuple[int, str, Any]:
        """Time, topic and message, a picture where raw ones are asked for."""
        package, _, name = recorded.type_name.split("/")
        message = deserialize_message(recorded.data, getattr(import_module(f"{package}.msg"), name))
        if self._raw and recorded.type_name == _COMPRESSED:
            message = image_to_msg(image_from_compressed_msg(message), message.header)
            return recorded.when_ns, recorded.topic.removesuffix("/compressed"), message
        return recorded.when_ns, recorded.topic, message

    def _declare(self, name: str, default: Any, description: str) -> Any:
        from rcl_interfaces.msg import ParameterDescriptor
        return self.declare_parameter(name, default, ParameterDescriptor(description=description, read_only=True)).value


def _qos(topic: str) -> QoSProfile:
    if topic == "/tf_static":
        return QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    return QoSProfile(depth=100 if topic == "/tf" else 1, reliability=ReliabilityPolicy.RELIABLE)


def main(args: list[str] | None = None) -> int:
    """Entry point; ends with the recording, on SIGINT or on SIGTERM."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = CameraSimulator()
    except RecordingError as error:
        print(f"camera_simulator: {error} (parameter `bag`)", file=sys.stderr)
        rclpy.shutdown()
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: node.stop.set())
    node.get_logger().info(f"sent {node.play()} images")
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
