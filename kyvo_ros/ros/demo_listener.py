"""The demo's ears: a node that collects scenes, pictures and diagnostics."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from kyvo_msgs.msg import SceneGraph
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from kyvo_ros.ros.conversions.images import image_from_msg
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg
from kyvo_ros.ros.frames import stamp_to_ns
from kyvo_ros.scene import Scene, SceneError

_SERVICE_LIMIT_S = 20.0


class DemoListener:
    """Everything by the image's stamp; a context manager that brings up rclpy and takes it down."""

    def __enter__(self) -> DemoListener:
        rclpy.init()
        self.scenes: dict[int, Scene] = {}
        self.pictures: dict[int, np.ndarray] = {}
        self.latencies_s: dict[int, float] = {}
        self.invalid: list[str] = []
        self.latest: SceneGraph | None = None
        self.count = 0
        self._sent_s: dict[int, float] = {}
        self._stages: dict[str, tuple[int, str]] = {}
        self._values: dict[str, str] = {}
        self._last_s = time.monotonic()
        self._node = rclpy.create_node("kyvo_demo")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        subscribe = self._node.create_subscription
        subscribe(CompressedImage, "/camera/image/compressed", self._on_image, qos_profile_sensor_data)
        subscribe(SceneGraph, "scene", self._on_scene, 10)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._pictures = subscribe(Image, "annotated_image", self._on_picture, 10)
        return self

    def __exit__(self, *_) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def spin(self, duration_s: float) -> None:
        """Handle what arrives within a time."""
        deadline = time.monotonic() + duration_s
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def call(self, kind: type, name: str, request: Any) -> Any:
        """The response of a service of the node. Raises TimeoutError."""
        client = self._node.create_client(kind, name)
        try:
            if not client.wait_for_service(timeout_sec=_SERVICE_LIMIT_S):
                raise TimeoutError(f"the node offers no service '{name}'")
            self._be_known()
            future = client.call_async(request)
            self._executor.spin_until_future_complete(future, timeout_sec=_SERVICE_LIMIT_S)
            if not future.done():
                raise TimeoutError(f"service '{name}' gave no response within {_SERVICE_LIMIT_S:g} s")
            return future.result()
        finally:
            self._node.destroy_client(client)

    def _be_known(self) -> None:
        """Wait until the node knows all clients that were made so far, since a service drops its answers to others. It
        learns of them in turn, so that the answer to a later one tells. Raises TimeoutError.
        """
        later = self._node.create_client(GetParameters, "kyvo_node/get_parameters")
        deadline = time.monotonic() + _SERVICE_LIMIT_S
        try:
            while time.monotonic() < deadline:
                if later.wait_for_service(timeout_sec=0.5):
                    asked = later.call_async(GetParameters.Request())
                    self._executor.spin_until_future_complete(asked, timeout_sec=0.5)
                    if asked.done():
                        return
            raise TimeoutError("the node does not answer")
        finally:
            self._node.destroy_client(later)

    def stop_pictures(self) -> None:
        """Stop listening to the annotated image, so that the node stops drawing it."""
        self._node.destroy_subscription(self._pictures)

    def idle_s(self) -> float:
        """Since the last scene."""
        return time.monotonic() - self._last_s

    def typical_latency_s(self) -> float:
        """Median time from image to scene; a second where none is known."""
        return float(np.median(list(self.latencies_s.values()))) if self.latencies_s else 1.0

    def model_ready(self) -> bool:
        return self._stages.get("model", (1, ""))[0] == 0

    def model_error(self) -> str:
        """What the node says of a model that cannot be loaded; empty where all is well."""
        level, message = self._stages.get("model", (0, ""))
        return message if level >= 2 else ""

    def model_name(self) -> str:
        return "{model} on {device}".format(**{"model": "?", "device": "?", **self._values})

    def message(self) -> str:
        """The node's own summary."""
        return self._stages.get("", (0, "nothing"))[1]

    def _on_image(self, message: CompressedImage) -> None:
        self._sent_s[stamp_to_ns(message.header.stamp)] = time.monotonic()

    def _on_scene(self, message: SceneGraph) -> None:
        stamp_ns, now = stamp_to_ns(message.header.stamp), time.monotonic()
        self.count += 1
        self._last_s, self.latest = now, message
        try:
            scene = scene_from_graph_msg(message)
        except SceneError as error:
            self.invalid.append(str(error))
            return
        if stamp_ns in self._sent_s and stamp_ns not in self.scenes:
            self.latencies_s[stamp_ns] = now - self._sent_s[stamp_ns]
        self.scenes.setdefault(stamp_ns, scene)

    def _on_picture(self, message: Image) -> None:
        self.pictures.setdefault(stamp_to_ns(message.header.stamp), image_from_msg(message).copy())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            _, _, stage = status.name.partition(": ")
            self._stages[stage] = (_level(status), status.message)
        self._values = {value.key: value.value for value in message.status[0].values}


def _level(status: DiagnosticStatus) -> int:
    """The level as a number; ROS declares it a byte, which Python reads as bytes."""
    return status.level[0] if isinstance(status.level, bytes) else int(status.level)
