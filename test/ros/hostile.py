"""Messages that no honest publisher sends: garbage in every field of all that the node subscribes to, seeded.

A message is a good one with one field or several replaced, or bytes of one with some of them changed, cut or added, so
that each check behind another is reached, too. For the same reason some stay as they are; `Hostile.altered` counts the
others. Pictures stay small: it is not memory that is tested.
"""

from __future__ import annotations

import random
import string
import struct
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.conversions.images import ENCODINGS
from kyvo_ros.scene import PinholeCamera, PlaneCamera
from kyvo_ros.scene import Transform as Pose

#: The topics that a node subscribes to, without the name of a camera before them, and the types of their messages.
KINDS = {"image": Image, "image/compressed": CompressedImage, "camera_info": CameraInfo, "depth": Image,
         "points": PointCloud2, "tf": TFMessage, "tf_static": TFMessage}
WIDTH, HEIGHT = 16, 12
#: Depth has twice as many rows and columns: enough points for a plane also where only a region is looked at.
_DEPTH_LENS = PinholeCamera(2 * WIDTH, 2 * HEIGHT, 34.0, 34.0, 16.0, 12.0)
_LOOKING = PlaneCamera(4.0, 0.5)
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", " ", "camera", "map", "world", "/", "//camera", "a" * 5000, "..", "\n", "\x01", "%s%n", "{}", "日本語",
          "'; --", "front/../left")
#: A good message, and what makes another value of each of its fields.
Made = tuple[Any, dict[str, Callable[[], Any]]]


class Hostile:
    """Makes messages from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.altered: Counter[str] = Counter()  # messages of each topic that are no good ones
        picture = np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        self._pixels = picture.tobytes()
        self._files = [cv2.imencode(suffix, shown)[1].tobytes() for suffix in (".png", ".jpg", ".bmp")
                       for shown in (picture, picture[:4, :6])]
        self._floor_m = _floor()
        self._makers = {"image": self._image, "image/compressed": self._compressed, "camera_info": self._info,
                        "depth": self._depth, "points": self._cloud, "tf": self._transforms,
                        "tf_static": self._transforms}

    def bytes_of(self, topic: str) -> bytes:
        """A serialised message of a topic of KINDS, or what is none any more."""
        message, replacements = self._makers[topic]()
        altered = False
        for name in self._chosen(list(replacements)):
            good = getattr(message, name)
            setattr(message, name, replacements[name]())
            altered |= bool(np.any(getattr(message, name) != good))  # np.any: some fields are arrays
        whole = serialize_message(message)
        data = bytearray(whole)
        for spoil in self._spoils():
            spoil(data)
        self.altered[topic] += altered or data != whole
        return bytes(data)

    def _chosen(self, names: list[str]) -> list[str]:
        """The fields that are replaced: none, one, or each with an even chance."""
        several = [name for name in names if self.random.random() < 0.5]
        return self.random.choice(([], [self.random.choice(names)], [self.random.choice(names)], several))

    def _spoils(self) -> list[Callable[[bytearray], None]]:
        """What is done to the bytes, mostly nothing."""
        return self.random.choices((self._flip, self._cut, self._add), k=self.random.choice((0, 0, 0, 0, 1, 2)))

    # --- messages

    def _image(self) -> Made:
        return self._varied(Image(header=self._good_header(), height=HEIGHT, width=WIDTH, encoding="rgb8",
                                  step=3 * WIDTH, data=self._pixels))

    def _depth(self) -> Made:
        encoding, kind, unit_m = self.random.choice((("32FC1", "<f4", 1.0), ("16UC1", "<u2", 0.001)))
        rows = (self._floor_m[..., 2] / unit_m).astype(kind)
        return self._varied(Image(header=self._good_header(), height=len(rows), width=rows.shape[1], encoding=encoding,
                                  step=rows.strides[0], data=array("B", rows.tobytes())))

    def _varied(self, good: Image) -> Made:
        return good, {"header": self._header, "height": self._whole, "width": self._whole, "step": self._whole,
                      "encoding": lambda: self.random.choice((*ENCODINGS, *_TEXTS, "16UC1", "32FC1", "rgb7")),
                      "is_bigendian": lambda: self.random.randrange(256), "data": lambda: self._noise(len(good.data))}

    def _compressed(self) -> Made:
        good = CompressedImage(header=self._good_header(), format="jpeg", data=self.random.choice(self._files))
        return good, {"header": self._header, "format": self._text, "data": self._file}

    def _cloud(self) -> Made:
        data = array("B", self._floor_m.astype("<f4").tobytes())
        fields = [PointField(name=axis, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                  for i, axis in enumerate("xyz")]
        good = PointCloud2(header=self._good_header(), height=1, width=len(data) // 12, fields=fields, point_step=12,
                           row_step=len(data), data=data)
        return good, {"header": self._header, "height": self._whole, "width": self._whole, "fields": self._fields,
                      "point_step": self._whole, "row_step": self._whole,
                      "is_bigendian": lambda: self.random.random() < 0.5,
                      "is_dense": lambda: self.random.random() < 0.5, "data": lambda: self._noise(len(data))}

    def _fields(self) -> list[PointField]:
        return [PointField(name=self.random.choice((*"xyz", *_TEXTS)), offset=self._whole(), count=self._whole(),
                           datatype=self.random.choice((7, 8, self.random.randrange(256))))
                for _ in range(self.random.randrange(6))]

    def _info(self) -> Made:
        good = CameraInfo(header=Header(frame_id="camera"), width=WIDTH, height=HEIGHT, distortion_model="plumb_bob",
                          d=[0.0] * 5, k=[17.0, 0.0, 8.0, 0.0, 17.0, 6.0, 0.0, 0.0, 1.0])
        return good, {
            "header": self._header, "width": self._whole, "height": self._whole, "binning_x": self._whole,
            "binning_y": self._whole, "d": lambda: self._floats(self.random.randrange(20)),
            "distortion_model": lambda: self.random.choice(("equidistant", "rational_polynomial", *_TEXTS)),
            "k": lambda: self._floats(9), "r": lambda: self._floats(9), "p": lambda: self._floats(12),
            "roi": lambda: RegionOfInterest(x_offset=self._whole(), y_offset=self._whole(), width=self._whole(),
                                            height=self._whole(), do_rectify=self.random.random() < 0.5)}

    def _transforms(self) -> Made:
        poses = [("map", "world", Pose.identity()), ("world", "camera", _LOOKING.plane_T_optical())]
        return TFMessage(transforms=[self._pose(*pose) for pose in poses]), {
            "transforms": lambda: [self._transform() for _ in range(self.random.randrange(4))]}

    def _transform(self) -> TransformStamped:
        translation, rotation = Vector3(z=5.0), Quaternion(w=1.0)
        if self.random.random() < 0.5:
            translation = Vector3(**dict(zip("xyz", self._floats(3))))
        if self.random.random() < 0.5:
            rotation = Quaternion(**dict(zip("xyzw", self._floats(4))))
        return TransformStamped(header=self._header(), child_frame_id=self._text(),
                                transform=Transform(translation=translation, rotation=rotation))

    def _pose(self, parent: str, child: str, pose: Pose) -> TransformStamped:
        translation, rotation = (dict(zip("xyzw", v.tolist())) for v in (pose.translation, pose.quaternion()))
        transform = Transform(translation=Vector3(**translation), rotation=Quaternion(**rotation))
        header = Header(stamp=self._good_header().stamp, frame_id=parent)
        return TransformStamped(header=header, child_frame_id=child, transform=transform)

    # --- fields

    def _good_header(self) -> Header:
        return Header(stamp=Time(sec=1000 + self.random.randrange(10)), frame_id="camera")

    def _header(self) -> Header:
        sec = self.random.choice((0, -1, 2**31 - 1, -2**31, 1000, self.random.randrange(2**31)))
        nanosec = self.random.choice((0, 1, 999_999_999, 1_000_000_000, 2**32 - 1))
        return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=self._text())

    def _text(self) -> str:
        if self.random.random() < 0.2:
            return "".join(self.random.choices(string.printable, k=self.random.randrange(40)))
        return self.random.choice(_TEXTS)

    def _whole(self) -> int:
        return self.random.choice((0, 1, 2, 3, HEIGHT, WIDTH, 48, 255, 65535, 2**31, 2**32 - 1,
                                   self.random.randrange(100)))

    def _floats(self, count: int) -> list[float]:
        return [self.random.choice((*_FLOATS, self.random.uniform(-100.0, 100.0))) for _ in range(count)]

    def _noise(self, size: int) -> array:
        """Bytes, as many as the good message has or another number of them."""
        return array("B", self.random.randbytes(self.random.choice((0, 1, size, self.random.randrange(3 * size)))))

    def _file(self) -> bytes:
        """A picture's file with bytes changed, cut or added, one that claims to be large, or noise."""
        data = bytearray(self.random.choice(self._files))
        if data[:4] == b"\x89PNG" and self.random.random() < 0.3:
            data[16:24] = struct.pack(">II", self._whole(), self._whole())
        self.random.choice((self._flip, self._cut, self._add))(data)
        return bytes(data) if self.random.random() < 0.9 else self._noise(200).tobytes()

    # --- bytes

    def _flip(self, data: bytearray) -> None:
        for _ in range(self.random.randrange(1, 8) if data else 0):
            data[self.random.randrange(len(data))] = self.random.randrange(256)

    def _cut(self, data: bytearray) -> None:
        del data[self.random.randrange(len(data) + 1):]

    def _add(self, data: bytearray) -> None:
        at = self.random.randrange(len(data) + 1)
        data[at:at] = self.random.randbytes(self.random.randrange(1, 64))


def _floor() -> np.ndarray:
    """Points (rows, columns, 3) of the floor that the good camera sees, in its optical frame, metres."""
    rows, columns = np.mgrid[:_DEPTH_LENS.height, :_DEPTH_LENS.width] + 0.5
    seen = _LOOKING.plane_points(_DEPTH_LENS, np.stack([columns, rows], axis=-1))
    return _LOOKING.plane_T_optical().inverse().apply(seen)
