"""Where transforms come from: our own buffer, and tf2_ros where it is installed (here a stand-in for it)."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

import rclpy  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3  # noqa: E402
from geometry_msgs.msg import Transform as TransformMsg  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from kyvo_ros.ros.tf_listener import OwnTransforms, Tf2Transforms, transform_source  # noqa: E402
from kyvo_ros.ros.transforms import TransformError  # noqa: E402


class TransformException(Exception):
    pass


class Buffer:
    """tf2_ros.Buffer as far as it is used: knows one transform from its third look-up on, and keeps what is set."""

    def __init__(self, cache_time) -> None:
        self.cache_s = cache_time.nanoseconds / 1e9
        self.asked: list[tuple] = []
        self.moving: list[TransformStamped] = []
        self.static: list[TransformStamped] = []
        self.cleared = 0

    def lookup_transform(self, target, source, time) -> TransformStamped:
        self.asked.append((target, source, time.nanoseconds))
        if target.startswith("/") or source.startswith("/"):
            raise TransformException("Invalid argument: in tf2 frame_ids cannot start with a '/'")
        if target == "nowhere" or len(self.asked) < 3:
            raise TransformException(f'"{target}" passed to lookupTransform argument target_frame does not exist')
        found = TransformMsg(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(w=1.0))
        return TransformStamped(transform=found)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        self.moving.append(transform)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        self.static.append(transform)

    def clear(self) -> None:
        self.moving.clear()  # as tf2: the static ones stay
        self.cleared += 1

    def known(self) -> list[tuple[str, int]]:
        """Frame and second of all that is known, but the static ones."""
        return [(t.child_frame_id, t.header.stamp.sec) for t in self.moving]


@pytest.fixture
def bare_node(tester):
    node = rclpy.create_node("bare")
    yield node
    node.destroy_node()


@pytest.fixture
def tf2_ros(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    listeners: list = []

    def listener(buffer: Buffer, node) -> object:
        listeners.append((buffer, node))
        return object()
    module = SimpleNamespace(Buffer=Buffer, TransformException=TransformException, TransformListener=listener,
                             listeners=listeners)
    monkeypatch.setitem(sys.modules, "tf2_ros", module)
    return module


def test_without_tf2_ros_our_own_buffer_is_used(bare_node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tf2_ros", None)
    source = transform_source(bare_node, 5.0)
    assert isinstance(source, OwnTransforms)
    with pytest.raises(TransformError, match="none at all"):
        source.lookup("a", "b", 1, 0.0)
    for _ in range(2):
        source.start()
    assert bare_node.count_subscribers("/tf") >= 1
    assert sum(s.topic_name in ("/tf", "/tf_static") for s in bare_node.subscriptions) == 2, "subscribed once"


def test_tf2_ros_is_used_where_it_is_installed(bare_node, tf2_ros) -> None:
    source = transform_source(bare_node, 7.0)
    assert isinstance(source, Tf2Transforms) and not tf2_ros.listeners
    source.start()
    source.start()
    (_, node), = tf2_ros.listeners
    buffer = source._buffer
    assert node is bare_node and buffer.cache_s == 7.0
    found = source.lookup("world", "camera", 123, 1.0)
    assert np.allclose(found.translation, [1.0, 2.0, 3.0]) and np.allclose(found.rotation, np.eye(3))
    assert buffer.asked == [("world", "camera", 123)] * 3, "asked again while waiting"
    assert np.allclose(source.lookup("/world", "/camera", 123, 0.0).translation, [1.0, 2.0, 3.0]), "as our own buffer"


def test_tf2_errors_become_ours_in_time(bare_node, tf2_ros) -> None:
    source = transform_source(bare_node, 7.0)
    with pytest.raises(TransformError, match="no transform from 'camera' to 'nowhere'.*does not exist"):
        source.lookup("nowhere", "camera", 1, 0.02)


def _stamped(child: str, second: int) -> TransformStamped:
    return TransformStamped(header=Header(frame_id="world", stamp=Time(sec=second)), child_frame_id=child)


@pytest.fixture
def filled(bare_node, tf2_ros) -> tuple[Tf2Transforms, Buffer]:
    """A source whose listener has heard of two moving frames and a static one, and of one the new time after a jump."""
    source = transform_source(bare_node, 60.0)
    source.start()
    (heard, _), = tf2_ros.listeners
    heard.set_transform_static(_stamped("lamp", 0), "somebody")
    for child, second in (("base", 40), ("arm", 40), ("base", 41), ("base", 10), ("base", 11)):
        heard.set_transform(_stamped(child, second), "somebody")
    return source, source._buffer


def test_tf2_forgets_the_old_time_and_keeps_what_the_new_one_has_brought(filled) -> None:
    source, buffer = filled
    source.jumped_back(11 * 10**9)
    assert buffer.cleared == 1 and buffer.known() == [("base", 10), ("base", 11)]
    assert [t.child_frame_id for t in buffer.static] == ["lamp"]


def test_one_jump_of_several_cameras_clears_tf2_once(filled, tf2_ros) -> None:
    source, buffer = filled
    source.jumped_back(11 * 10**9)
    (heard, _), = tf2_ros.listeners
    heard.set_transform(_stamped("arm", 12), "somebody")
    source.jumped_back(12 * 10**9)  # another camera has followed
    assert buffer.cleared == 1 and buffer.known() == [("base", 10), ("base", 11), ("arm", 12)]
    source.jumped_back(5 * 10**9)
    assert buffer.cleared == 2 and buffer.known() == []


def test_what_came_long_ago_is_not_put_back(filled, tf2_ros, monkeypatch: pytest.MonkeyPatch) -> None:
    source, buffer = filled
    later_s = time.monotonic() + 60.0
    monkeypatch.setattr("kyvo_ros.ros.tf_listener.time", SimpleNamespace(monotonic=lambda: later_s))
    (heard, _), = tf2_ros.listeners
    heard.set_transform(_stamped("base", 12), "somebody")
    source.jumped_back(11 * 10**9 + 9 * 10**8)
    assert buffer.known() == [("base", 12)]


def test_tf2_is_given_nothing_that_our_own_buffer_ignores(bare_node, tf2_ros, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    logger = SimpleNamespace(warning=lambda text, **_: logged.append(text))
    monkeypatch.setattr(bare_node, "get_logger", lambda: logger)
    source, own = transform_source(bare_node, 60.0), OwnTransforms(bare_node, 60.0)
    source.start()
    (heard, _), = tf2_ros.listeners
    long = _stamped("base", 40)
    long.transform.rotation.w = 5.0
    heard.set_transform(long, "somebody")
    heard.set_transform_static(long, "somebody")
    own._store(False, TFMessage(transforms=[long]))
    assert source._buffer.moving == source._buffer.static == [] and source.ignored == 2
    assert "unit quaternion" in logged[0] and len(logged) == 3 and len(set(logged)) == 1, "in the same words"
