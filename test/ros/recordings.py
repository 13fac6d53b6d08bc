"""Small rosbag2 recordings for tests, written by `rosbags`; no ROS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from kyvo_ros.ros.offline.message_packages import deserialize, typestore
from kyvo_ros.scene import Transform

S = 10**9


def message(name: str, **fields: Any) -> Any:
    return typestore().types[name](**fields)


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    stamp = message("builtin_interfaces/msg/Time", sec=stamp_ns // S, nanosec=stamp_ns % S)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(stamp_ns: int, pixels: np.ndarray, frame_id: str = "camera", encoding: str = "rgb8") -> Any:
    height, width = pixels.shape[:2]
    data = np.frombuffer(pixels.tobytes(), np.uint8)
    return message("sensor_msgs/msg/Image", header=header(stamp_ns, frame_id), height=height, width=width,
                   encoding=encoding, is_bigendian=0, step=data.size // height, data=data)


def camera_info(stamp_ns: int, frame_id: str = "camera", focal: float = 352.0, width: int = 320,
                height: int = 240) -> Any:
    roi = message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = np.array([focal, 0, (width - 1) / 2, 0, focal, (height - 1) / 2, 0, 0, 1])
    return message("sensor_msgs/msg/CameraInfo", header=header(stamp_ns, frame_id), height=height, width=width,
                   distortion_model="plumb_bob", d=np.zeros(5), k=k, r=np.eye(3).ravel(), p=np.zeros(12), binning_x=0,
                   binning_y=0, roi=roi)


def transform(stamp_ns: int, pose: Transform, parent: str = "world", child: str = "camera") -> Any:
    x, y, z, w = pose.quaternion().tolist()
    moved = message("geometry_msgs/msg/Vector3", **dict(zip("xyz", pose.translation.tolist())))
    turned = message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
    stamped = message("geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child,
                      transform=message("geometry_msgs/msg/Transform", translation=moved, rotation=turned))
    return message("tf2_msgs/msg/TFMessage", transforms=[stamped])


def write_bag(folder: Path, messages: list[tuple[int, str, Any]], storage: str = "mcap") -> Path:
    """A bag of (time, topic, message)."""
    with Writer(folder, version=8, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections: dict[str, Any] = {}
        for when_ns, topic, content in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, content.__msgtype__, typestore=typestore())
            writer.write(connections[topic], when_ns, typestore().serialize_cdr(content, content.__msgtype__))
    return folder


def read_bag(folder: Path) -> list[tuple[int, str, Any]]:
    """Inverse of `write_bag`."""
    from rosbags.rosbag2 import Reader
    with Reader(folder) as reader:
        return [(when_ns, c.topic, deserialize(bytes(data), c.msgtype)) for c, when_ns, data in reader.messages()]
