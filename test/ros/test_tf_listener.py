"""Where transforms come from: our own buffer, and tf2_ros where it is installed (here a stand-in for it)."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

import rclpy  # noqa: E402
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3  # noqa: E402
from geometry_msgs.msg import Transform as TransformMsg  # noqa: E402

from kyvo_ros.ros.tf_listener import OwnTransforms, Tf2Transforms, transform_source  # noqa: E402
from kyvo_ros.ros.transforms import TransformError  # noqa: E402


class TransformException(Exception):
    pass


class Buffer:
    """tf2_ros.Buffer as far as it is used: knows one transform from its third look-up on."""

    def __init__(self, cache_time) -> None:
        self.cache_s = cache_time.nanoseconds / 1e9
        self.asked: list[tuple] = []
        self.cleared = 0

    def lookup_transform(self, target, source, time) -> TransformStamped:
        self.asked.append((target, source, time.nanoseconds))
        if target == "nowhere" or len(self.asked) < 3:
            raise TransformException(f'"{target}" passed to lookupTransform argument target_frame does not exist')
        found = TransformMsg(translation=Vector3(x=1.0, y=2.0, z=3.0), rotation=Quaternion(w=1.0))
        return TransformStamped(transform=found)

    def clear(self) -> None:
        self.cleared += 1


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
    (buffer, node), = tf2_ros.listeners
    assert node is bare_node and buffer.cache_s == 7.0
    found = source.lookup("world", "camera", 123, 1.0)
    assert np.allclose(found.translation, [1.0, 2.0, 3.0]) and np.allclose(found.rotation, np.eye(3))
    assert buffer.asked == [("world", "camera", 123)] * 3, "asked again while waiting"
    source.jumped_back(5)
    assert buffer.cleared == 1


def test_tf2_errors_become_ours_in_time(bare_node, tf2_ros) -> None:
    source = transform_source(bare_node, 7.0)
    with pytest.raises(TransformError, match="no transform from 'camera' to 'nowhere'.*does not exist"):
        source.lookup("nowhere", "camera", 1, 0.02)
