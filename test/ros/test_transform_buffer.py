"""Our own transform buffer: the answers of tf2, and errors that say what is missing."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kyvo_ros.ros.transforms import JUMP_BACK_NS, TransformBuffer, TransformError
from kyvo_ros.scene import Transform

S = 1_000_000_000
IDENTITY = (0.0, 0.0, 0.0, 1.0)


def _yaw(angle: float) -> tuple[float, float, float, float]:
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


def _close(a: Transform, b: Transform) -> bool:
    return np.allclose(a.matrix(), b.matrix(), atol=1e-9)


@pytest.fixture
def buffer() -> TransformBuffer:
    made = TransformBuffer(length_s=10.0)
    made.set("base", "camera", _yaw(0.3), (1.0, 2.0, 3.0), 0, static=True)
    for second in range(5):
        made.set("world", "base", _yaw(0.1 * second), (float(second), 0.0, 0.0), second * S + 1)
    return made


def test_chains_compose_and_invert(buffer: TransformBuffer) -> None:
    world_T_base = Transform.from_yaw(0.2, np.array([2.0, 0.0, 0.0]))
    base_T_camera = Transform.from_yaw(0.3, np.array([1.0, 2.0, 3.0]))
    at = 2 * S + 1
    assert _close(buffer.lookup("world", "camera", at), world_T_base @ base_T_camera)
    assert _close(buffer.lookup("camera", "world", at), (world_T_base @ base_T_camera).inverse())
    assert _close(buffer.lookup("camera", "camera", at), Transform.identity())


def test_siblings_meet_at_their_common_parent(buffer: TransformBuffer) -> None:
    buffer.set("base", "gripper", _yaw(-0.2), (0.0, 1.0, 0.0), 0, static=True)
    expected = Transform.from_yaw(-0.2, np.array([0.0, 1.0, 0.0])).inverse() @ \
        Transform.from_yaw(0.3, np.array([1.0, 2.0, 3.0]))
    assert _close(buffer.lookup("gripper", "camera", 999 * S), expected)  # static: any time will do


@given(share=st.floats(0.0, 1.0), turn=st.floats(-3.0, 3.0))
def test_interpolation_is_linear_in_place_and_angle(share: float, turn: float) -> None:
    buffer = TransformBuffer()
    buffer.set("a", "b", _yaw(0.0), (0.0, 0.0, 0.0), S)
    flipped = tuple(-v for v in _yaw(turn))  # the other quaternion of the same rotation
    buffer.set("a", "b", flipped, (4.0, -2.0, 1.0), 2 * S)
    stamp = S + round(share * S)
    expected = Transform.from_yaw(turn * (stamp - S) / S, np.array([4.0, -2.0, 1.0]) * (stamp - S) / S)
    assert np.allclose(buffer.lookup("a", "b", stamp).matrix(), expected.matrix(), atol=1e-6)


def test_time_zero_is_the_newest_common_moment(buffer: TransformBuffer) -> None:
    buffer.set("base", "arm", IDENTITY, (0.0, 0.0, 1.0), 2 * S + 1)
    buffer.set("base", "arm", IDENTITY, (0.0, 0.0, 3.0), 3 * S + 1)
    found = buffer.lookup("world", "arm", 0)
    assert np.allclose(found.translation, [3.0, 0.0, 3.0])


def test_never_extrapolates_and_says_by_how_much(buffer: TransformBuffer) -> None:
    with pytest.raises(TransformError, match=r"'world' to 'base'.*0\.500 s after its newest.*tf_timeout_s"):
        buffer.lookup("world", "camera", 4 * S + 1 + S // 2)
    with pytest.raises(TransformError, match=r"before its oldest"):
        buffer.lookup("world", "camera", -5)


def test_one_sample_answers_for_its_own_stamp_only() -> None:
    buffer = TransformBuffer()
    buffer.set("a", "b", IDENTITY, (1.0, 0.0, 0.0), 5 * S)
    assert np.allclose(buffer.lookup("a", "b", 5 * S).translation, [1.0, 0.0, 0.0])
    with pytest.raises(TransformError):
        buffer.lookup("a", "b", 5 * S + 1)


def test_unknown_and_unconnected_frames_are_named(buffer: TransformBuffer) -> None:
    with pytest.raises(TransformError, match=r"does not know frame 'map' \(known: base, camera, world\)"):
        buffer.lookup("map", "camera", S)
    buffer.set("odom", "wheel", IDENTITY, (0.0, 0.0, 0.0), S)
    with pytest.raises(TransformError, match=r"no chain between 'odom'.*'camera' \(root 'world'\)"):
        buffer.lookup("odom", "camera", S)
    with pytest.raises(TransformError, match="none at all"):
        TransformBuffer().lookup("a", "b", 0)


def test_a_loop_is_an_error_and_no_endless_walk() -> None:
    buffer = TransformBuffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        buffer.set(parent, child, IDENTITY, (0.0, 0.0, 0.0), S)
    with pytest.raises(TransformError, match="loop"):
        buffer.lookup("a", "x", S)


def test_waits_for_a_transform_that_comes_late(buffer: TransformBuffer) -> None:
    threading.Timer(0.1, lambda: buffer.set("world", "base", IDENTITY, (9.0, 0.0, 0.0), 9 * S)).start()
    start = time.monotonic()
    assert buffer.lookup("world", "base", 9 * S, timeout_s=60.0).translation[0] == 9.0
    assert time.monotonic() - start < 30.0
    start = time.monotonic()
    with pytest.raises(TransformError):
        buffer.lookup("world", "base", 99 * S, timeout_s=0.05)
    assert time.monotonic() - start < 30.0


def test_history_is_bounded_and_late_samples_find_their_place() -> None:
    buffer = TransformBuffer(length_s=2.0)
    for second in (1.0, 3.0, 2.6, 4.5):  # 2.6 comes late
        buffer.set("a", "b", IDENTITY, (second if second != 2.6 else 0.0, 0.0, 0.0), int(second * S))
    assert buffer.lookup("a", "b", int(2.8 * S)).translation[0] == pytest.approx(1.5)
    with pytest.raises(TransformError, match="before its oldest"):
        buffer.lookup("a", "b", 2 * S)


def test_a_sample_that_comes_very_late_finds_its_place_and_costs_none_of_the_others(buffer: TransformBuffer) -> None:
    buffer.set("world", "base", IDENTITY, (7.0, 0.0, 0.0), S + S // 2)
    assert buffer.lookup("world", "base", S + S // 2).translation[0] == 7.0
    assert buffer.lookup("world", "base", 2 * S + 1).translation[0] == 2.0
    assert buffer.lookup("world", "base", 0).translation[0] == 4.0
    for late_ns in (2 * S, 2 * S + S // 2):  # from a publisher that is always late, beside one that is not
        buffer.set("world", "base", IDENTITY, (9.0, 0.0, 0.0), late_ns)
        buffer.set("world", "base", IDENTITY, (4.0, 0.0, 0.0), late_ns + 3 * S)
    assert buffer.lookup("world", "base", S + 1).translation[0] == 1.0


def test_a_sample_older_than_the_buffer_keeps_is_ignored() -> None:
    buffer = TransformBuffer(length_s=2.0)
    for second in (10, 11, 12):
        buffer.set("a", "b", IDENTITY, (float(second), 0.0, 0.0), second * S)
    buffer.set("a", "b", IDENTITY, (0.0, 0.0, 0.0), 9 * S)
    with pytest.raises(TransformError, match="before its oldest"):
        buffer.lookup("a", "b", 9 * S)
    assert buffer.lookup("a", "b", 10 * S).translation[0] == 10.0


@pytest.mark.parametrize("length_s", [10.0, 2.0])
def test_once_time_is_known_to_have_jumped_back_the_old_samples_are_gone(length_s: float) -> None:
    buffer = TransformBuffer(length_s)
    for tenth in range(51):
        buffer.set("a", "b", IDENTITY, (1.0, 0.0, 0.0), S + tenth * S // 10)
    for stamp_ns in (S, S + S // 4):  # just before the first image of the new time
        buffer.set("a", "b", IDENTITY, (7.0, 0.0, 0.0), stamp_ns)
    buffer.clear_after(S)
    assert buffer.lookup("a", "b", S + S // 8).translation[0] == 7.0, "nothing of the old time is between them"
    assert buffer.lookup("a", "b", 0).translation[0] == 7.0
    with pytest.raises(TransformError, match="after its newest"):
        buffer.lookup("a", "b", S + S // 3)


def test_tf_that_stays_behind_has_jumped_back_though_no_image_says_so(buffer: TransformBuffer) -> None:
    for tenth in range(20):
        buffer.set("world", "base", IDENTITY, (7.0, 0.0, 0.0), tenth * S // 10)
    assert buffer.lookup("world", "base", 0).translation[0] == 7.0
    with pytest.raises(TransformError, match="after its newest"):
        buffer.lookup("world", "base", 2 * S)


def test_clear_after_keeps_statics_and_what_the_new_time_has_brought(buffer: TransformBuffer) -> None:
    buffer.set("world", "moved", IDENTITY, (1.0, 0.0, 0.0), 100 * S)
    buffer.clear_after(2 * S + 1 - JUMP_BACK_NS)
    assert buffer.frames() == ["base", "camera", "world"]
    assert buffer.lookup("world", "camera", S + 1) is not None
    with pytest.raises(TransformError):
        buffer.lookup("world", "camera", 2 * S + 1)


def test_a_new_parent_replaces_the_old_history(buffer: TransformBuffer) -> None:
    buffer.set("map", "base", IDENTITY, (5.0, 0.0, 0.0), 9 * S)
    assert buffer.lookup("map", "base", 9 * S).translation[0] == 5.0
    with pytest.raises(TransformError):
        buffer.lookup("world", "base", 2 * S + 1)


@pytest.mark.parametrize("parent, child, quaternion, translation", [
    ("a", "a", IDENTITY, (0.0, 0.0, 0.0)), ("", "b", IDENTITY, (0.0, 0.0, 0.0)),
    ("a", "b", (0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ("a", "b", IDENTITY, (math.nan, 0.0, 0.0)),
    ("a", "b", (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), ("a", "b", (0.0, 0.0, 0.0, 1.1), (0.0, 0.0, 0.0)),
    ("a", "b", (1e308, 0.0, -1.0, 0.0), (0.0, 0.0, 0.0)), ("a", "b", IDENTITY, (0.0, 1e10, 0.0)),
])
def test_nonsense_is_refused(parent, child, quaternion, translation) -> None:
    buffer = TransformBuffer()
    with pytest.raises(ValueError):
        buffer.set(parent, child, quaternion, translation, S)
    assert buffer.frames() == []


def test_leading_slashes_do_not_matter(buffer: TransformBuffer) -> None:
    buffer.set("/base", "/lamp", IDENTITY, (1.0, 0.0, 0.0), 0, static=True)
    assert np.allclose(buffer.lookup("/base", "lamp", S).translation, [1.0, 0.0, 0.0])


def test_a_buffer_needs_a_length() -> None:
    with pytest.raises(ValueError, match="positive"):
        TransformBuffer(0.0)
