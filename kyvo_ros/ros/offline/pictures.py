"""Folders of images and videos as if a camera had been recorded: messages with the fields of sensor_msgs/Image.

Stamps begin at 0: a video's are its own times, the images of a folder follow each other at a rate, in the order of
their names. Without a calibration there is no camera_info.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from kyvo_ros.data.images import ImageFileError, read_rgb
from kyvo_ros.ros.frames import DEFAULT_CAMERA_FRAME
from kyvo_ros.ros.offline.bags import CAMERA_INFO, IMAGE, BagError, Heard
from kyvo_ros.scene import PinholeCamera

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
#: Share of the frames that a video claims to have, which is an estimate, that a whole one has.
_COMPLETE = 0.95
_LOG = logging.getLogger(__name__)
#: Offset from our pixel coordinates (centre of the first pixel at 0.5) to ROS's (at 0).
_PIXEL_CENTRE = 0.5


def is_picture_folder(path: Path) -> bool:
    """Whether a folder holds images and no rosbag2."""
    return path.is_dir() and not (path / "metadata.yaml").exists()


def heard_in_folder(folder: Path, rate_hz: float, camera: PinholeCamera | None = None) -> Iterator[Heard]:
    """The images of a folder, `rate_hz` a second. Raises BagError where there are none or one cannot be read."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise BagError(f"{folder} is neither a rosbag2 (no metadata.yaml) nor a folder with images "
                       f"({', '.join(IMAGE_SUFFIXES)})")
    yield from _calibration(camera)
    for index, path in enumerate(paths):
        try:
            rgb = read_rgb(path)
        except ImageFileError as error:
            raise BagError(f"{error}; copy it again or take it out") from error
        yield _heard(rgb, "rgb8", round(index * 1e9 / rate_hz))


def heard_in_video(path: Path, camera: PinholeCamera | None = None) -> Iterator[Heard]:
    """The frames of a video. Raises BagError where OpenCV reads none."""
    capture = cv2.VideoCapture(str(path))
    try:
        rate_hz = capture.get(cv2.CAP_PROP_FPS) or 30.0
        yield from _calibration(camera)
        index = 0
        when_ns, step_ns = -1, round(1e9 / rate_hz)
        while True:
            read, bgr = capture.read()
            if not read:
                break
            own_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)  # of the frame; some containers know none
            when_ns = own_ns if own_ns > when_ns else when_ns + step_ns
            yield _heard(bgr, "bgr8", when_ns)
            index += 1
        claimed = round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    if index < _COMPLETE * claimed:
        _LOG.warning("%s claims %d frames and OpenCV reads %d: it seems to be cut off", path, claimed, index)
    if index == 0:
        raise BagError(f"OpenCV reads no frame of {path}; give a rosbag2, a folder of images, or a video such as .mp4")


def camera_info_of(camera: PinholeCamera, frame_id: str = DEFAULT_CAMERA_FRAME) -> SimpleNamespace:
    """The fields of a sensor_msgs/CameraInfo; `conversions.camera_from_msg` takes them back."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx - _PIXEL_CENTRE, camera.cy - _PIXEL_CENTRE
    return SimpleNamespace(
        header=_header(0, frame_id), width=camera.width, height=camera.height, binning_x=0, binning_y=0,
        distortion_model=camera.distortion_model, d=list(camera.distortion), k=[fx, 0, cx, 0, fy, cy, 0, 0, 1],
        p=[fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0], roi=SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0))


def _calibration(camera: PinholeCamera | None) -> Iterator[Heard]:
    if camera is not None:
        yield Heard(0, CAMERA_INFO, camera_info_of(camera))


def _heard(pixels: np.ndarray, encoding: str, stamp_ns: int) -> Heard:
    height, width = pixels.shape[:2]
    return Heard(stamp_ns, IMAGE, SimpleNamespace(
        header=_header(stamp_ns, DEFAULT_CAMERA_FRAME), height=height, width=width, encoding=encoding, is_bigendian=0,
        step=3 * width, data=np.ascontiguousarray(pixels).tobytes()))


def _header(stamp_ns: int, frame_id: str) -> SimpleNamespace:
    return SimpleNamespace(stamp=SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame_id)
