"""Makes the recording that `make demo` plays, and its ground truth, from a folder of CLEVR renders.

    python demo/make_bag.py ../shared/clevr/val

Takes twelve scenes at even steps through the folder. The JPEG files go into the bag byte for byte; camera_info, /tf
(world -> camera_link, one an image, since CLEVR's camera moves) and /tf_static (camera_link -> camera_optical_frame)
come from the scenes' cameras. Needs no ROS. Running it again makes the same messages.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from kyvo_ros.data.clevr import ClevrSample, read_clevr
from kyvo_ros.scene import Transform

HERE = Path(__file__).resolve().parent
IMAGES, RATE_HZ, START_NS = 12, 2.0, 1_700_000_000_000_000_000
WORLD, LINK, OPTICAL = "world", "camera_link", "camera_optical_frame"
#: Body axes (x forward, y left, z up) to optical axes (z forward, x right, y down), REP-103.
LINK_T_OPTICAL = Transform(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
STORE = get_typestore(Stores.ROS2_JAZZY)


def message(name: str, **fields):
    """A message of the type `name`, such as std_msgs/msg/Header."""
    return STORE.types[name](**fields)


def stamp_of(index: int) -> int:
    return START_NS + int(index * 1e9 / RATE_HZ)


def header(stamp_ns: int, frame_id: str):
    stamp = message("builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def transform(stamp_ns: int, parent: str, child: str, pose: Transform):
    x, y, z, w = pose.quaternion().tolist()
    moved = message("geometry_msgs/msg/Vector3", **dict(zip("xyz", pose.translation.tolist())))
    turned = message("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w)
    stamped = message("geometry_msgs/msg/TransformStamped", header=header(stamp_ns, parent), child_frame_id=child,
                      transform=message("geometry_msgs/msg/Transform", translation=moved, rotation=turned))
    return message("tf2_msgs/msg/TFMessage", transforms=[stamped])


def camera_info(stamp_ns: int, sample: ClevrSample):
    """CameraInfo of a render; ROS counts pixel centres at whole numbers, so the principal point moves by a half."""
    camera = sample.view.intrinsics
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5
    whole = message("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return message(
        "sensor_msgs/msg/CameraInfo", header=header(stamp_ns, OPTICAL), height=camera.height, width=camera.width,
        distortion_model="plumb_bob", d=np.zeros(5), k=np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]),
        r=np.eye(3).ravel(), p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]), binning_x=0, binning_y=0,
        roi=whole)


def world_T_optical(sample: ClevrSample) -> Transform:
    return sample.view.world_T_plane @ sample.view.plane_T_optical()


def messages_of(index: int, sample: ClevrSample) -> list[tuple[str, object]]:
    """What the robot says with an image, in this order."""
    stamp_ns = stamp_of(index)
    data = np.frombuffer(sample.image_path.read_bytes(), dtype=np.uint8)
    return [
        ("/tf", transform(stamp_ns, WORLD, LINK, world_T_optical(sample) @ LINK_T_OPTICAL.inverse())),
        ("/camera/camera_info", camera_info(stamp_ns, sample)),
        ("/camera/image/compressed", message("sensor_msgs/msg/CompressedImage", header=header(stamp_ns, OPTICAL),
                                             format="rgb8; jpeg compressed bgr8", data=data)),
    ]


def qos(durability: QosDurability) -> Qos:
    never = QosTime(9223372036, 854775807)  # what ROS 2 writes for infinity
    return Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, durability, never, never, QosLiveliness.AUTOMATIC,
               never, False)


def write_bag(folder: Path, samples: list[ClevrSample]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with Writer(folder, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}

        def write(topic: str, when_ns: int, content) -> None:
            if topic not in connections:
                latched = QosDurability.TRANSIENT_LOCAL if topic == "/tf_static" else QosDurability.VOLATILE
                connections[topic] = writer.add_connection(topic, content.__msgtype__, typestore=STORE,
                                                           offered_qos_profiles=[qos(latched)])
            writer.write(connections[topic], when_ns, STORE.serialize_cdr(content, content.__msgtype__))

        write("/tf_static", START_NS - 10**8, transform(START_NS - 10**8, LINK, OPTICAL, LINK_T_OPTICAL))
        for index, sample in enumerate(samples):
            for topic, content in messages_of(index, sample):
                write(topic, stamp_of(index), content)


def truth_of(index: int, sample: ClevrSample) -> dict:
    """The ground truth of an image, in the world frame."""
    scene = sample.scene.transformed(sample.view.world_T_plane, WORLD)
    return {"stamp_ns": stamp_of(index), "image_filename": sample.image_path.name, "objects": [
        {**o.attributes, "position_m": o.position_m.round(6).tolist(), "size_m": o.size_m.round(6).tolist(),
         "yaw_rad": None if o.yaw_rad is None else round(o.yaw_rad, 6)} for o in scene.objects]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder with scenes.json and images/")
    samples = read_clevr(parser.parse_args().renders)
    chosen = [samples[i * len(samples) // IMAGES] for i in range(IMAGES)]
    write_bag(HERE / "recording", chosen)
    truth = {"frame_id": WORLD, "frames": [truth_of(i, s) for i, s in enumerate(chosen)]}
    (HERE / "ground_truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    print(f"{HERE / 'recording'}: {len(chosen)} images, {sum(len(f['objects']) for f in truth['frames'])} objects")


if __name__ == "__main__":
    main()
