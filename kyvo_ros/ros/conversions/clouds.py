"""Point clouds: sensor_msgs/PointCloud2 -> (N, 3), few enough to compute with. Reads messages by their fields only."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: PointField.datatype -> numpy's name, for the types that coordinates have.
_FLOATS = {7: "f4", 8: "f8"}
#: What is farther away is no measurement.
_FARTHEST_M = 1e5


class CloudMessageError(ValueError):
    """A point cloud cannot be read; the message says what was expected, what came and what to do."""


def points_from_msg(message: Any, max_points: float = math.inf, most_sent: float = math.inf) -> np.ndarray:
    """Points (N, 3) of a sensor_msgs/PointCloud2 in its frame, metres: at most `max_points`, spread evenly over it.

    Points that are not finite, or absurdly far away, are left out. Raises CloudMessageError for fields and sizes that do
    not fit, and for clouds of more than `most_sent` points.
    """
    count = message.width * message.height
    if count > most_sent:
        raise CloudMessageError(f"the cloud has {message.width}x{message.height} points, more than the {most_sent:g} "
                                "of max_image_megapixels; let the driver send fewer, or raise it")
    step = message.point_step
    if message.row_step < message.width * step or len(message.data) != message.row_step * message.height:
        raise CloudMessageError(f"the cloud has {len(message.data)} bytes in {message.height} rows of "
                                f"{message.row_step} for {message.width} points of {step}; its publisher sends broken "
                                "clouds")
    if count == 0:
        return np.empty((0, 3))
    kind = _point_type(message)  # after the sizes: numpy makes no type of a point_step that no data could have
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.row_step)
    stored = np.ascontiguousarray(rows[:, :message.width * step]).view(kind).reshape(-1)
    taken = stored if count <= max_points else stored[np.arange(int(max_points)) * count // int(max_points)]
    points = np.stack([taken[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    return points[(np.abs(points) < _FARTHEST_M).all(axis=-1)]


def _point_type(message: Any) -> np.dtype:
    """How a point lies in the data."""
    fields = {f.name: f for f in message.fields if f.name in ("x", "y", "z")}
    for axis in "xyz":
        size = {7: 4, 8: 8}.get(fields[axis].datatype) if axis in fields else None
        if size is None or fields[axis].offset + size > message.point_step:
            raise CloudMessageError("the cloud has no fields x, y and z of floating metres; remap `points` to a topic "
                                    "with such points")
    order = ">" if message.is_bigendian else "<"
    return np.dtype({"names": list("xyz"), "formats": [order + _FLOATS[fields[a].datatype] for a in "xyz"],
                     "offsets": [fields[a].offset for a in "xyz"], "itemsize": message.point_step})
