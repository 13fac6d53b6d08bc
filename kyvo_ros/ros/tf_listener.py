"""Where the node gets its transforms: tf2_ros where it is installed, our own buffer over /tf and /tf_static elsewhere.

Both answer `lookup(target, source, stamp_ns, timeout_s)` and `jumped_back(stamp_ns)`. Nothing is subscribed before
the first `start`, since a busy /tf costs CPU that a node without TF need not pay.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.conversions.transforms import transform_from_msg, transforms_from_msg
from kyvo_ros.ros.executor import BriefCallbackGroup
from kyvo_ros.ros.frames import stamp_to_ns
from kyvo_ros.ros.transforms import JUMP_BACK_NS, TransformBuffer, TransformError, check_transform
from kyvo_ros.scene import Transform

_POLL_S = 0.005
#: For so long, in real time, what comes on /tf is remembered beside tf2: an image is never so much later than its TF.
_REMEMBERED_S = 2.0


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


class _Transforms:
    """Counts what is ignored, and says why in the node's log."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.ignored = 0

    def _ignore(self, error: ValueError) -> None:
        self.ignored += 1
        self._node.get_logger().warning(f"ignoring a transform: {error}", throttle_duration_sec=10.0)


class OwnTransforms(_Transforms):
    """Our own buffer, filled by the executor of `node`."""

    def __init__(self, node: Node, length_s: float, max_frames: float = math.inf) -> None:
        super().__init__(node)
        self._buffer = TransformBuffer(length_s, max_frames)
        self._started = False

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
                self._ignore(error)


class Tf2Transforms(_Transforms):
    """tf2_ros's buffer and listener; `tf2_ros` is the imported module."""

    def __init__(self, node: Node, length_s: float, tf2_ros: Any) -> None:
        from rclpy.duration import Duration
        super().__init__(node)
        self._tf2_ros = tf2_ros
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=length_s))
        self._input = Tf2Input(self._buffer, self._ignore)
        self._listener = None

    def start(self) -> None:
        if self._listener is None:
            self._listener = self._tf2_ros.TransformListener(self._input, self._node)

    def lookup(self, target: str, source: str, stamp_ns: int, timeout_s: float) -> Transform:
        from rclpy.time import Time
        moment = Time(nanoseconds=stamp_ns)
        target, source = target.lstrip("/"), source.lstrip("/")  # old drivers write it; tf2 refuses to be asked so
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
        self._input.clear_after(stamp_ns)


class Tf2Input:
    """What a TransformListener fills in place of tf2's buffer: hands on what our own would take, and remembers what has
    just come, to put it back after a `clear`, since tf2 can only forget all that is not static. Thread-safe.
    """

    def __init__(self, buffer: Any, ignore: Callable[[ValueError], None]) -> None:
        """`ignore` hears why a transform is not handed on."""
        self._buffer = buffer
        self._ignore = ignore
        self._guard = threading.Lock()
        self._newest_ns = 0  # of what is in the buffer
        self._recent: deque[tuple[float, Any, str]] = deque()  # time.monotonic(), TransformStamped, who sent it

    def set_transform(self, transform: Any, authority: str) -> None:
        """As tf2_ros.Buffer."""
        with self._guard:
            if not self._is_one(transform):
                return
            now_s = time.monotonic()
            self._recent.append((now_s, transform, authority))
            while self._recent[0][0] < now_s - _REMEMBERED_S:
                self._recent.popleft()
            self._set(transform, authority)

    def set_transform_static(self, transform: Any, authority: str) -> None:
        """As tf2_ros.Buffer."""
        with self._guard:
            if self._is_one(transform):
                self._buffer.set_transform_static(transform, authority)

    def clear_after(self, stamp_ns: int) -> None:
        """Time has gone back to a moment: forget what is later, and of the rest what did not just come. Where nothing
        is later, as for all but the first of several cameras whose time has jumped, nothing is forgotten.
        """
        with self._guard:
            if self._newest_ns <= stamp_ns + JUMP_BACK_NS:
                return
            self._buffer.clear()
            self._newest_ns = 0
            for transform, authority in _of_the_new_time(self._recent, stamp_ns):
                self._set(transform, authority)

    def _is_one(self, transform: Any) -> bool:
        """tf2 itself takes rotations of any length."""
        try:
            check_transform(*transform_from_msg(transform)[:4])
        except ValueError as error:
            self._ignore(error)
            return False
        return True

    def _set(self, transform: Any, authority: str) -> None:
        self._newest_ns = max(self._newest_ns, stamp_to_ns(transform.header.stamp))
        self._buffer.set_transform(transform, authority)


def _of_the_new_time(recent: Iterable[tuple[float, Any, str]], stamp_ns: int) -> list[tuple[Any, str]]:
    """Of the transforms that have come, in this order, those of a time that began again at about `stamp_ns`."""
    by_frame: dict[str, list[tuple[int, Any, str]]] = {}
    for _, transform, authority in recent:
        when_ns, known = stamp_to_ns(transform.header.stamp), by_frame.setdefault(transform.child_frame_id, [])
        if known and when_ns < known[-1][0] - JUMP_BACK_NS:
            known.clear()  # they are of the time before
        known.append((when_ns, transform, authority))
    return [(transform, authority) for known in by_frame.values() for when_ns, transform, authority in known
            if when_ns <= stamp_ns + JUMP_BACK_NS]


def _from_msg(message: Any) -> Transform:
    q, t = message.rotation, message.translation
    return Transform.from_quaternion(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))
