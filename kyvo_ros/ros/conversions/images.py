"""Images: sensor_msgs/Image and CompressedImage <-> (H, W, 3) uint8 RGB; depth images -> (H, W).

Reads messages by their fields only, so that any object with those fields will do. Depth images are not taken for
pictures. Source: sensor_msgs/image_encodings.hpp for names and layouts; `is_bigendian` counts for 16 bit alone.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from kyvo_ros.ros.conversions.picture_headers import picture_size


class ImageMessageError(ValueError):
    """An image message cannot be read; the message says what was expected, what came and what to do."""


@dataclass(frozen=True)
class _Layout:
    channels: int
    dtype: np.dtype
    to_rgb: Callable[[np.ndarray], np.ndarray]  # (H, W, channels) of dtype -> (H, W, 3) uint8


def _convert(code: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pixels: cv2.cvtColor(pixels, code)


def _narrow(to_rgb: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """16 bit to 8 by the high byte, then as `to_rgb`."""
    return lambda pixels: to_rgb((pixels >> 8).astype(np.uint8))


def _layouts() -> dict[str, _Layout]:
    one, two = np.dtype(np.uint8), np.dtype(np.uint16)
    colours = {
        "rgb": (3, lambda pixels: pixels), "bgr": (3, _convert(cv2.COLOR_BGR2RGB)),
        "rgba": (4, _convert(cv2.COLOR_RGBA2RGB)), "bgra": (4, _convert(cv2.COLOR_BGRA2RGB)),
        "mono": (1, _convert(cv2.COLOR_GRAY2RGB)),
        # OpenCV names a Bayer pattern by its second row and column, ROS by the first.
        "bayer_rggb": (1, _convert(cv2.COLOR_BayerBG2RGB)), "bayer_bggr": (1, _convert(cv2.COLOR_BayerRG2RGB)),
        "bayer_gbrg": (1, _convert(cv2.COLOR_BayerGR2RGB)), "bayer_grbg": (1, _convert(cv2.COLOR_BayerGB2RGB)),
    }
    layouts = {f"{name}8": _Layout(n, one, f) for name, (n, f) in colours.items()}
    layouts |= {f"{name}16": _Layout(n, two, _narrow(f)) for name, (n, f) in colours.items()}
    layouts |= {"8UC1": layouts["mono8"], "8UC3": layouts["bgr8"], "8UC4": layouts["bgra8"]}  # OpenCV's habit is BGR
    uyvy, yuyv = _Layout(2, one, _convert(cv2.COLOR_YUV2RGB_UYVY)), _Layout(2, one, _convert(cv2.COLOR_YUV2RGB_YUY2))
    layouts |= {"yuv422": uyvy, "uyvy": uyvy, "yuv422_yuy2": yuyv, "yuyv": yuyv}
    return layouts


_LAYOUTS = _layouts()
#: Encodings that `image_from_msg` reads.
ENCODINGS = tuple(_LAYOUTS)
#: Encodings of depth images (REP-118) and what some drivers call the same.
_DEPTH = {"16UC1": np.dtype(np.uint16), "mono16": np.dtype(np.uint16), "32FC1": np.dtype(np.float32)}
#: Bytes a pixel of the widest encoding (rgba16), and of a compressed image that gains nothing.
_MOST_BYTES_PER_PIXEL = 8


def image_from_msg(message: Any, max_pixels: float = math.inf) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image; rows may be padded. For rgb8 inverse of `image_to_msg`.

    The result may share memory with the message. Raises ImageMessageError for encodings, steps and sizes that do not
    fit, and for more than `max_pixels`.
    """
    _check_size(message.width, message.height, len(message.data), max_pixels)
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        raise ImageMessageError(_unknown_encoding(message.encoding))
    pixels = _pixels(message, layout)
    return layout.to_rgb(pixels[..., 0] if layout.channels == 1 else pixels)


def depth_from_msg(message: Any, max_pixels: float = math.inf) -> np.ndarray:
    """(H, W) of a depth image in a sensor_msgs/Image: float32 metres or uint16 millimetres.

    Raises ImageMessageError as `image_from_msg` does, and for pictures.
    """
    _check_size(message.width, message.height, len(message.data), max_pixels)
    if message.encoding not in _DEPTH:
        raise ImageMessageError(f"encoding '{message.encoding}' is no depth image; remap `depth` to a topic with "
                                f"{' or '.join(_DEPTH)}")
    return _pixels(message, _Layout(1, _DEPTH[message.encoding], lambda pixels: pixels))[..., 0]


def _check_size(width: int, height: int, size_bytes: int, max_pixels: float) -> None:
    """Raises ImageMessageError for images that are larger than anybody wants to decode."""
    if width * height > max_pixels or size_bytes > _MOST_BYTES_PER_PIXEL * max_pixels:
        raise ImageMessageError(f"the image has {width}x{height} pixels in {size_bytes} bytes, more than the "
                                f"{max_pixels:g} pixels of max_image_megapixels; let the driver send smaller ones, or "
                                "raise it")


def _unknown_encoding(encoding: str) -> str:
    if encoding in _DEPTH:
        return f"encoding '{encoding}' is a depth image; remap `image` to the camera's colour topic"
    return (f"unknown image encoding '{encoding}'; set the camera driver to one of {', '.join(ENCODINGS[:5])} "
            f"(also read: {', '.join(ENCODINGS[5:])})")


def _pixels(message: Any, layout: _Layout) -> np.ndarray:
    """(H, W, channels) of the layout's type, in this machine's byte order, without padding."""
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ImageMessageError(f"the image is empty: {width}x{height} pixels; check the camera driver")
    row = width * layout.channels * layout.dtype.itemsize
    if step < row:
        raise ImageMessageError(f"image step {step} is too small: {width} pixels of {message.encoding} take {row} "
                                "bytes; the camera driver must fill in step = bytes of a row")
    if len(message.data) != step * height:
        raise ImageMessageError(f"image data has {len(message.data)} bytes, expected step x height = {step} x {height} "
                                f"= {step * height}; the camera driver sends broken images")
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(height, step)[:, :row]
    if layout.dtype.itemsize == 1:
        return rows.reshape(height, width, layout.channels)
    stored = layout.dtype.newbyteorder(">" if message.is_bigendian else "<")
    values = np.ascontiguousarray(rows).view(stored).astype(layout.dtype)
    return values.reshape(height, width, layout.channels)


def image_from_compressed_msg(message: Any, max_pixels: float = math.inf) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage (JPEG or PNG).

    `format` may name what was packed before a semicolon, as image_transport writes it: of a Bayer pattern colours are
    made. Raises ImageMessageError where the data is no such picture or one of depth, and before it is decoded where
    that has more than `max_pixels`.
    """
    packed = message.format.partition(";")[0].strip() if ";" in message.format else ""
    if packed in _DEPTH and packed not in _LAYOUTS:
        raise ImageMessageError(_unknown_encoding(packed))
    mosaic = _LAYOUTS[packed] if packed in _LAYOUTS and packed.startswith("bayer_") else None
    data = np.frombuffer(message.data, dtype=np.uint8)
    size = picture_size(data.data)
    if size is not None:
        _check_size(*size, data.size, max_pixels)
    flags = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_ANYDEPTH if mosaic else cv2.IMREAD_COLOR)
    decoded = cv2.imdecode(data, flags) if size is not None else None
    if decoded is None:
        hint = "; compressedDepth is a depth image" if "compressedDepth" in message.format else ""
        raise ImageMessageError(f"cannot decode a compressed image of format '{message.format}' and {data.size} bytes; "
                                f"JPEG and PNG are read{hint}")
    if mosaic is not None:
        return mosaic.to_rgb(decoded.astype(mosaic.dtype, copy=False))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def image_to_msg(image_rgb: np.ndarray, header: Any) -> Any:
    """sensor_msgs/Image (rgb8) of an image (H, W, 3) uint8 RGB; inverse of `image_from_msg`."""
    from sensor_msgs.msg import Image
    if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or image_rgb.shape[2] != 3:
        raise ImageMessageError(f"expected an RGB image (H, W, 3) of uint8, got {image_rgb.shape} of {image_rgb.dtype}")
    height, width = image_rgb.shape[:2]
    message = Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = array("B", image_rgb.tobytes())  # an array is taken as it is; bytes would be checked one by one
    return message
