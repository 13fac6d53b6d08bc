"""Transforms: the samples of a tf2_msgs/TFMessage, as `TransformBuffer.set` takes them. Reads fields only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def transforms_from_msg(message: Any) -> Iterator[tuple[str, str, tuple[float, ...], tuple[float, ...], int]]:
    """Parent, child, quaternion (x, y, z, w), translation in metres and stamp in nanoseconds of each transform."""
    for item in message.transforms:
        q, t, stamp = item.transform.rotation, item.transform.translation, item.header.stamp
        yield (item.header.frame_id, item.child_frame_id, (q.x, q.y, q.z, q.w), (t.x, t.y, t.z),
               stamp.sec * 1_000_000_000 + stamp.nanosec)
