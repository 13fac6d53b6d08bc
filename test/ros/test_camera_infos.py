"""CameraInfo: intrinsics of the image that came, and the cache of the newest by frame."""

from __future__ import annotations

import fake_messages as messages
import numpy as np
import pytest

from kyvo_ros.ros.camera_infos import CameraInfoCache
from kyvo_ros.ros.conversions import CameraInfoError, camera_from_msg
from kyvo_ros.scene import PinholeCamera


def _values(camera: PinholeCamera) -> tuple[float, ...]:
    return (camera.fx, camera.fy, camera.cx, camera.cy)


def test_the_principal_point_moves_by_half_a_pixel() -> None:
    camera = camera_from_msg(messages.camera_info(), 320, 240)
    assert _values(camera) == pytest.approx((352.0, 352.0, 160.0, 120.0))
    assert camera.distortion == ()


def test_region_of_interest_shifts_and_binning_shrinks() -> None:
    roi = messages.SimpleNamespace(x_offset=40, y_offset=20, width=200, height=160)
    camera = camera_from_msg(messages.camera_info(roi=roi, binning_x=2, binning_y=2), 100, 80)
    assert _values(camera) == pytest.approx((176.0, 176.0, (160 - 40) / 2, (120 - 20) / 2))
    assert (camera.width, camera.height) == (100, 80)


def test_a_ray_keeps_its_direction_through_roi_and_binning() -> None:
    whole = camera_from_msg(messages.camera_info(), 320, 240)
    roi = messages.SimpleNamespace(x_offset=40, y_offset=20, width=200, height=160)
    part = camera_from_msg(messages.camera_info(roi=roi, binning_x=4, binning_y=2), 50, 80)
    assert np.allclose(whole.rays(np.array([140.0, 70.0])), part.rays(np.array([25.0, 25.0])))


def test_a_resized_image_of_the_same_shape_is_understood() -> None:
    camera = camera_from_msg(messages.camera_info(), 640, 480)
    assert _values(camera) == pytest.approx((704.0, 704.0, 320.0, 240.0))


def test_raw_images_have_k_and_d_and_rectified_ones_p() -> None:
    message = messages.camera_info(d=[0.1, 0.01, 0.0, 0.0, 0.0], p=[300.0, 0, 150, 0, 0, 310.0, 110, 0, 0, 0, 1, 0])
    raw = camera_from_msg(message, 320, 240)
    assert raw.distortion == (0.1, 0.01, 0.0, 0.0, 0.0) and raw.fx == 352.0
    rectified = camera_from_msg(message, 320, 240, rectified=True)
    assert rectified.distortion == () and _values(rectified) == (300.0, 310.0, 150.5, 110.5)


@pytest.mark.parametrize("name, model", [
    ("plumb_bob", "plumb_bob"), ("", "plumb_bob"), ("fisheye", "equidistant"), ("equidistant", "equidistant"),
    ("rational_polynomial", "rational_polynomial")])
def test_distortion_models(name: str, model: str) -> None:
    count = 8 if model == "rational_polynomial" else 4
    message = messages.camera_info(distortion_model=name, d=[0.1] + [0.0] * (count - 1))
    assert camera_from_msg(message, 320, 240).distortion_model == model


@pytest.mark.parametrize("coefficients", [[], [0.0] * 4])
def test_an_ideal_fisheye_bends_without_coefficients(coefficients: list[float]) -> None:
    camera = camera_from_msg(messages.camera_info(distortion_model="fisheye", d=coefficients), 320, 240)
    assert (camera.distortion_model, camera.distortion) == ("equidistant", (0.0,) * 4)


@pytest.mark.parametrize("model, sent, kept", [
    ("plumb_bob", [0.1, 0.2, 0, 0, 0, 0, 0, 0], (0.1, 0.2, 0, 0, 0)),
    ("rational_polynomial", [0.1] * 8 + [0.0] * 6, (0.1,) * 8),
    ("rational_polynomial", [0.1] * 5, (0.1,) * 5 + (0.0,) * 3)])
def test_zeros_at_the_end_may_be_left_out_or_too_many(model: str, sent: list[float], kept: tuple[float, ...]) -> None:
    assert camera_from_msg(messages.camera_info(distortion_model=model, d=sent), 320, 240).distortion == kept


def test_coefficients_that_no_model_has_are_refused_unless_the_image_is_rectified() -> None:
    for fields in ({"distortion_model": "rational_polynomial", "d": [0.1] * 12},
                   {"distortion_model": "plumb_bob", "d": [0.1] * 8}, {"distortion_model": "double_sphere", "d": [0.1]}):
        message = messages.camera_info(p=[300.0, 0, 150, 0, 0, 310.0, 110, 0, 0, 0, 1, 0], **fields)
        with pytest.raises(CameraInfoError):
            camera_from_msg(message, 320, 240)
        assert camera_from_msg(message, 320, 240, rectified=True).fx == 300.0


@pytest.mark.parametrize("fields, size, reason", [
    ({"k": [0.0] * 9}, (320, 240), "uncalibrated.*calibrate it"),
    ({"width": 0}, (320, 240), "no image size"),
    ({"distortion_model": "barrel"}, (320, 240), "unknown distortion model 'barrel'"),
    ({}, (320, 200), "describes 320x240 pixels and the image has 320x200"),
    ({"k": [float("nan"), 0, 1, 0, 1.0, 1, 0, 0, 1]}, (320, 240), "not usable"),
    ({"d": [0.1]}, (320, 240), "plumb_bob distortion has 4 or 5 coefficients, got 1"),
    ({"k": [1e308, 0, 160.0, 0, 352.0, 120.0, 0, 0, 1]}, (320, 240), "no lens has a focal length of 1e.308"),
    ({"k": [352.0, 0, 160.0, 0, 1e-9, 120.0, 0, 0, 1]}, (320, 240), "no lens has a focal length of 1e-09"),
    ({"k": [352.0, 0, 1e9, 0, 352.0, 120.0, 0, 0, 1]}, (320, 240), "principal point at 1e.09 pixels"),
])
def test_calibrations_that_cannot_be_used(fields: dict, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(CameraInfoError, match=reason):
        camera_from_msg(messages.camera_info(**fields), *size)


def test_rectified_images_need_p() -> None:
    with pytest.raises(CameraInfoError, match="image_rectified to false"):
        camera_from_msg(messages.camera_info(p=[0.0] * 12), 320, 240, rectified=True)


def test_the_newest_of_each_frame_is_kept_however_old() -> None:
    cache = CameraInfoCache()
    assert cache.latest("left") == (None, "")
    old, new = (messages.camera_info(header=messages.header("left", ns)) for ns in (10**9, 2 * 10**9))
    right = messages.camera_info(header=messages.header("right"))
    for message in (old, right, new):
        cache.store(message)
    assert cache.latest("left") == (new, "")
    assert cache.latest("right") == (right, "")
    assert cache.latest("rear") == (None, "")
    assert cache.frames() == ["left", "right"]


def test_a_single_camera_may_be_named_differently() -> None:
    cache = CameraInfoCache()
    message = messages.camera_info(header=messages.header("camera_link"))
    cache.store(message)
    found, remark = cache.latest("camera_optical_frame")
    assert found is message and "'camera_link'" in remark and "'camera_optical_frame'" in remark


def test_the_cache_is_bounded() -> None:
    cache = CameraInfoCache(most_frames=3)
    for i in range(10):
        cache.store(messages.camera_info(header=messages.header(f"c{i}")))
    assert cache.frames() == ["c7", "c8", "c9"]
