"""Cameras: sensor_msgs/CameraInfo -> PinholeCamera of the image that came with it.

K and D belong to the raw image of the full sensor, P to the rectified one; binning and region of interest say which
part of it the image shows. Pixel centres: ROS counts them at whole numbers, PinholeCamera at halves, so half a pixel
is added to the principal point. Source: REP-104 and sensor_msgs/CameraInfo.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import COEFFICIENTS, distort

#: distortion_model of CameraInfo -> the model PinholeCamera knows.
_MODELS = {"": "plumb_bob", "plumb_bob": "plumb_bob", "rational_polynomial": "rational_polynomial",
           "equidistant": "equidistant", "fisheye": "equidistant"}
#: Numbers of coefficients that OpenCV writes, and none.
_LENGTHS = (0, 4, 5, 8, 12, 14)
#: Focal length, and its inverse, in image sizes: half a degree of view, or nearly all round.
_LONGEST_LENS = 100.0
_AXIS = np.array([[0.0, 0.0, 1.0]])
#: Offset from ROS' pixel coordinates (centre of the first pixel at 0) to ours (at 0.5).
_PIXEL_CENTRE = 0.5


class CameraInfoError(ValueError):
    """A CameraInfo cannot be used; the message says why and what to do."""


def camera_from_msg(message: Any, width: int, height: int, rectified: bool = False) -> PinholeCamera:
    """The camera of an image of `width` x `height` pixels; `rectified` images have P and no distortion.

    An image that is the calibrated one resized (same aspect) is understood. Raises CameraInfoError for uncalibrated
    cameras, unknown distortion models, and images of another shape than the calibration's.
    """
    _check(message, rectified)
    binning_x, binning_y = max(1, message.binning_x), max(1, message.binning_y)
    roi = message.roi
    full = roi.width == 0 or roi.height == 0
    shown_width, shown_height = (message.width, message.height) if full else (roi.width, roi.height)
    left, top = (0, 0) if full else (roi.x_offset, roi.y_offset)
    camera = (_rectified if rectified else _raw)(message, shown_width, shown_height)
    camera = replace(camera, cx=camera.cx - left, cy=camera.cy - top)
    camera = camera.resized(max(1, shown_width // binning_x), max(1, shown_height // binning_y))
    return _at_size(camera, width, height)


def _check(message: Any, rectified: bool) -> None:
    if message.k[0] == 0 or message.k[4] == 0:
        raise CameraInfoError("the camera is uncalibrated (camera_info has K[0] = 0); calibrate it "
                              "(camera_calibration) or let its driver publish the calibration")
    if rectified and (message.p[0] == 0 or message.p[5] == 0):
        raise CameraInfoError("camera_info has no projection matrix (P[0] = 0), which rectified images need; set the "
                              "parameter image_rectified to false for raw images")
    if message.width == 0 or message.height == 0:
        raise CameraInfoError("camera_info has no image size (width or height is 0); its publisher must fill them in")
    if not rectified and message.distortion_model not in _MODELS:
        raise CameraInfoError(f"unknown distortion model '{message.distortion_model}' in camera_info; "
                              f"known are {', '.join(name for name in _MODELS if name)}")


def _raw(message: Any, width: int, height: int) -> PinholeCamera:
    model = _MODELS[message.distortion_model]
    return _pinhole(width, height, (message.k[0], message.k[4], message.k[2], message.k[5]),
                    _coefficients(message.d, model), model)


def _coefficients(sent: Any, model: str) -> tuple[float, ...]:
    """As many as the model has: OpenCV also writes 5, 12 or 14, of which the last may be zero, for any model."""
    distortion = tuple(float(v) for v in sent)
    if not any(distortion) and model != "equidistant":  # which bends even without
        return ()
    most = max(COEFFICIENTS[model])
    if not any(distortion[most:]):
        distortion = distortion[:most]
    if len(distortion) in _LENGTHS:
        distortion += (0.0,) * (min(COEFFICIENTS[model]) - len(distortion))
    return distortion


def _rectified(message: Any, width: int, height: int) -> PinholeCamera:
    return _pinhole(width, height, (message.p[0], message.p[5], message.p[2], message.p[6]), (), "plumb_bob")


def _pinhole(width: int, height: int, matrix: tuple[float, float, float, float], distortion: tuple[float, ...],
             model: str) -> PinholeCamera:
    fx, fy, cx, cy = (float(v) for v in matrix)
    try:
        camera = PinholeCamera(width, height, fx, fy, cx + _PIXEL_CENTRE, cy + _PIXEL_CENTRE, distortion, model)
        distort(_AXIS, camera)  # which raises where the coefficients are not as many as they should be
    except ValueError as error:
        raise CameraInfoError(f"camera_info is not usable: {error}") from error
    for focal, centre, size in ((fx, cx, width), (fy, cy, height)):
        if not size / _LONGEST_LENS <= focal <= _LONGEST_LENS * size or abs(centre) > _LONGEST_LENS * size:
            raise CameraInfoError(f"camera_info is not usable: no lens has a focal length of {focal:g} and a principal "
                                  f"point at {centre:g} pixels for an image of {size}; calibrate the camera anew")
    return camera


def _at_size(camera: PinholeCamera, width: int, height: int) -> PinholeCamera:
    if (camera.width, camera.height) == (width, height):
        return camera
    if not camera.has_shape_of(width, height):
        raise CameraInfoError(f"camera_info describes {camera.width}x{camera.height} pixels and the image has "
                              f"{width}x{height}, another shape; publish the camera_info of this image")
    return camera.resized(width, height)
