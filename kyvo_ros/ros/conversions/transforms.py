"""Transforms: samples of TFMessage and TransformStamped, as `TransformBuffer.set` takes them. Reads fields only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: Parent, child, quaternion (x, y, z, w), translation in metres, stamp in nanoseconds.
Sample = tuple[str, str, tuple[float, ...], tuple[float, ...], int]


def transforms_from_msg(message: Any) -> Iterator[Sample]:
    """The sample of each transform of a TFMessage."""
    return map(transform_from_msg, message.transforms)


def transform_from_msg(message: Any) -> Sample:
    """The sample of a TransformStamped."""
    q, t, stamp = message.transform.rotation, message.transform.translation, message.header.stamp
    return (message.header.frame_id, message.child_frame_id, (q.x, q.y, q.z, q.w), (t.x, t.y, t.z),
            stamp.sec * 1_000_000_000 + stamp.nanosec)
