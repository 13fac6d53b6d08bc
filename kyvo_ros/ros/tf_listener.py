"""Where the node gets its transforms: tf2_ros where it is installed, our own buffer over /tf and /tf_static elsewhere.

Both answer `lookup(target, source, stamp_ns, timeout_s)` and `jumped_back(stamp_ns)`. Nothing is subscribed before
the first `start`, since a busy /tf costs CPU that a node without TF need not pay.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.conversions.transforms import transforms_from_msg
from kyvo_ros.ros.executor import BriefCallbackGroup
from kyvo_ros.ros.transforms import TransformBuffer, TransformError
from kyvo_ros.scene import Transform

_POLL_S = 0.005


class TransformSource(Protocol):
    """What the node asks of TF; `ignored` counts the transforms that came and are none."""

    ignored: int

    def start(self) -> None:
        """Subscribe to /tf and /tf_static, once."""

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        """target_T_source at a moment (0: the newest), waited for in real time. Raises TransformError."""

    def jumped_back(self, stamp_ns: int) -> None:
        """Time has gone back to a moment: forget transforms of a future that is no more; static ones stay."""


def transform_source(node: Node, length_s: float, max_frames: float = math.inf) -> TransformSource:
    """tf2_ros's buffer where it can be imported, else our own of up to `max_frames`; `length_s` is the history kept."""
    try:
        import tf2_ros
    except ImportError:
        return OwnTransforms(node, length_s, max_frames)
    return Tf2Transforms(node, length_s, tf2_ros)


class OwnTransforms:
    """Our own buffer, filled by the executor of `node`."""

    def __init__(self, node: Node, length_s: float, max_frames: float = math.inf) -> None:
        self._node = node
        self._buffer = TransformBuffer(length_s, max_frames)
        self._started = False
        self.ignored = 0

    def start(self) -> None:
        if self._started:
            return
        self._started = True
        group = BriefCallbackGroup()
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL,
                             reliability=ReliabilityPolicy.RELIABLE)
        for topic, qos, static in (("/tf", 100, False), ("/tf_static", latched, True)):
            self._node.create_subscription(TFMessage, topic, partial(self._store, static), qos, callback_group=group)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        return self._buffer.lookup(target, source, stamp_ns, timeout_s)

    def jumped_back(self, stamp_ns: int) -> None:
        self._buffer.clear_after(stamp_ns)

    def _store(self, static: bool, message: TFMessage) -> None:
        for sample in transforms_from_msg(message):
            try:
                self._buffer.set(*sample, static)
            except ValueError as error:
                self.ignored += 1
                self._node.get_logger().warning(f"ignoring a transform: {error}", throttle_duration_sec=10.0)


class Tf2Transforms:
    """tf2_ros's buffer and listener; `tf2_ros` is the imported module, which counts and logs no ignored transform here.
    """

    ignored = 0

    def __init__(self, node: Node, length_s: float, tf2_ros: Any) -> None:
        from rclpy.duration import Duration
        self._node = node
        self._tf2_ros = tf2_ros
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=length_s))
        self._listener = None

    def start(self) -> None:
        if self._listener is None:
            self._listener = self._tf2_ros.TransformListener(self._buffer, self._node)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        from rclpy.time import Time
        moment = Time(nanoseconds=stamp_ns)
        deadline = time.monotonic() + timeout_s  # tf2's own timeout runs on ROS time, which a paused bag stops
        while True:
            try:
                return _from_msg(self._buffer.lookup_transform(target, source, moment).transform)
            except self._tf2_ros.TransformException as error:
                if time.monotonic() >= deadline:
                    raise TransformError(
                        f"TF has no transform from '{source}' to '{target}' at the image's stamp: {error}") from error
            time.sleep(_POLL_S)

    def jumped_back(self, stamp_ns: int) -> None:
        self._buffer.clear()


def _from_msg(message: Any) -> Transform:
    q, t = message.rotation, message.translation
    return Transform.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
