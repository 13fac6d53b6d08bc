"""Stand-ins for ROS messages, for functions that read messages by their fields."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


def stamp(ns: int) -> SimpleNamespace:
    return SimpleNamespace(sec=ns // 10**9, nanosec=ns % 10**9)


def header(frame_id: str = "camera", stamp_ns: int = 10**9) -> SimpleNamespace:
    return SimpleNamespace(frame_id=frame_id, stamp=stamp(stamp_ns))


def image(pixels: np.ndarray, encoding: str = "rgb8", *, padding: int = 0, big_endian: bool = False,
          **fields) -> SimpleNamespace:
    """An Image of pixels (H, W[, C]); `padding` bytes end each row; fields replace what follows from the pixels."""
    height, width = pixels.shape[:2]
    stored = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<"))
    rows = np.frombuffer(stored.tobytes(), np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    values = {"header": header(), "height": height, "width": width, "encoding": encoding, "step": rows.shape[1],
              "is_bigendian": int(big_endian), "data": rows.tobytes()}
    return SimpleNamespace(**{**values, **fields})


def camera_info(**fields) -> SimpleNamespace:
    """A calibrated CameraInfo of 320x240 pixels with the principal point in the middle."""
    width, height, fx, cx, cy = 320, 240, 352.0, 159.5, 119.5
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    values = {"header": header(), "width": width, "height": height, "distortion_model": "plumb_bob", "d": [0.0] * 5,
              "k": [fx, 0.0, cx, 0.0, fx, cy, 0.0, 0.0, 1.0], "p": [fx, 0, cx, 0, 0, fx, cy, 0, 0, 0, 1, 0],
              "binning_x": 0, "binning_y": 0, "roi": roi}
    return SimpleNamespace(**{**values, **fields})
