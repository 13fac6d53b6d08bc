"""Lens distortion against OpenCV's own projection, and what happens where a model ends."""

import math

import cv2
import numpy as np
import pytest

from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import DistortionError, distort, undistort

CAMERAS = {
    "pinhole": PinholeCamera(320, 240, 300, 305, 165, 117),
    "plumb_bob": PinholeCamera(320, 240, 300, 305, 165, 117, (-0.25, 0.09, 0.001, -0.002, 0.01)),
    "plumb_bob of 4": PinholeCamera(320, 240, 300, 305, 165, 117, (-0.25, 0.09, 0.001, -0.002)),
    "rational_polynomial": PinholeCamera(320, 240, 300, 305, 165, 117, (0.3, -0.1, 1e-3, -1e-3, 0.02, 0.6, -0.1, 0.03),
                                         "rational_polynomial"),
    "equidistant": PinholeCamera(320, 240, 210, 212, 165, 117, (0.02, -0.01, 0.003, -0.001), "equidistant"),
    "equidistant without coefficients": PinholeCamera(320, 240, 210, 212, 165, 117, (0.0,) * 4, "equidistant"),
}


@pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS)
def test_distortion_is_that_of_opencv(camera):
    xy = np.random.default_rng(0).uniform(-0.35, 0.35, (50, 2))
    points = np.concatenate([xy, np.ones((50, 1))], axis=1) * np.random.default_rng(1).uniform(0.5, 9, (50, 1))
    project = cv2.fisheye.projectPoints if camera.distortion_model == "equidistant" else cv2.projectPoints
    expected = project(points[:, None], np.zeros(3), np.zeros(3), camera.matrix(), np.array(camera.distortion))[0]
    assert distort(points, camera) == pytest.approx(expected.reshape(-1, 2))


def test_points_behind_the_camera_have_no_pixel():
    for camera in CAMERAS.values():
        assert np.isnan(distort(np.array([[0.1, 0.0, -1.0], [0.1, 0.1, 0.0]]), camera)).all()
        assert np.isfinite(distort(np.array([[0.0, 0.0, 1.0]]), camera)).all()


def test_rays_beyond_the_reach_of_a_model_do_not_fold_back():
    camera = PinholeCamera(320, 240, 200, 200, 160, 120, (-0.5, 0.0, 0.0, 0.0, 0.0))
    turn = 1 / math.sqrt(1.5)  # where r (1 - r^2 / 2) is largest
    rays = np.array([[turn * 0.98, 0, 1.0], [turn * 1.05, 0, 1.0], [2.0, 0, 1.0]])
    assert np.isfinite(distort(rays, camera)[:, 0]).tolist() == [True, False, False]


@pytest.mark.parametrize("model, count, message", [
    ("thin_prism", 5, "thin_prism"), ("plumb_bob", 3, "4 or 5"), ("equidistant", 5, "has 4 coefficients"),
])
def test_unknown_models_are_named(model, count, message):
    with pytest.raises(DistortionError, match=message):
        distort(np.array([[0.0, 0.0, 1.0]]), PinholeCamera(320, 240, 350, 350, 160, 120, (0.1,) * count, model))


@pytest.mark.parametrize("model, coefficients", [
    ("plumb_bob", ()), ("plumb_bob", (-0.3, 0.1, 0.002, -0.001, 0.0)), ("plumb_bob", (0.2, 0.0, 0.0, 0.0)),
    ("rational_polynomial", (0.1, 0.01, 0.001, -0.001, 0.0, 0.05, 0.0, 0.0)), ("equidistant", (0.02, -0.01, 0.0, 0.0)),
])
def test_undistort_is_the_inverse_of_distort(model, coefficients):
    camera = PinholeCamera(640, 480, 500.0, 510.0, 320.0, 250.0, coefficients, model)
    pixels = np.stack(np.meshgrid(np.linspace(0, 640, 9), np.linspace(0, 480, 9)), axis=-1).reshape(-1, 2)
    rays = undistort(pixels, camera)
    assert (rays[:, 2] == 1).all()
    assert distort(rays, camera) == pytest.approx(pixels, abs=2e-4)


def test_pixels_that_no_ray_falls_on_have_none():
    camera = PinholeCamera(640, 480, 250.0, 250.0, 320.0, 240.0, (-0.4, 0.0, 0.0, 0.0))
    rays = undistort(np.array([[330.0, 240.0], [0.0, 0.0]]), camera)
    assert np.isfinite(rays[0]).all() and np.isnan(rays[1]).all()


@pytest.mark.parametrize("coefficients", [(-0.3, 0, 0, 0, 0), (-0.36, 0.17, 0, 0, -0.05),
                                          (0.064, -0.123, -0.003, -0.004, 0.0)])
def test_one_point_says_nothing_of_another(coefficients):
    camera = PinholeCamera(320, 240, 200.0, 200.0, 160.0, 120.0, coefficients)
    near = np.array([[x, y, 1.0] for x in (-0.4, 0.0, 0.4) for y in (-0.3, 0.0, 0.3)])
    aside = np.array([[1e6, 0.0, 1.0], [50.0, 3.0, 0.01]])  # of a lidar that sees all round
    alone = distort(near, camera)
    assert np.isfinite(alone).all()
    assert np.array_equal(distort(np.concatenate([near, aside]), camera)[:len(near)], alone)
