"""Depth images as points: units, invalid pixels, thinning, lenses, and shapes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from kyvo_ros.depth import DepthError, points_from_depth, thinned
from kyvo_ros.scene import PinholeCamera
from kyvo_ros.scene.distortion import distort

LENS = PinholeCamera(32, 24, 30.0, 30.0, 16.0, 12.0)


def test_every_pixel_gives_the_point_it_sees() -> None:
    depth = np.linspace(0.5, 3.0, 32 * 24).reshape(24, 32).astype(np.float32)
    points = points_from_depth(depth, LENS)
    rows, columns = np.mgrid[0:24, 0:32]
    assert np.allclose(points[:, 2], depth.ravel())
    assert np.allclose(LENS.project(points), np.stack([columns.ravel(), rows.ravel()], axis=-1) + 0.5, atol=1e-5)


def test_millimetres_and_metres_are_the_same() -> None:
    millimetres = np.arange(500, 500 + 32 * 24, dtype=np.uint16).reshape(24, 32)
    assert np.allclose(points_from_depth(millimetres, LENS), points_from_depth(millimetres / 1000.0, LENS))


@pytest.mark.parametrize("depth, left", [
    (np.array([[0, 1000], [2000, 0]], np.uint16), 2),
    (np.array([[np.nan, 1.0], [np.inf, -1.0]], np.float32), 1),
    (np.zeros((2, 2), np.float64), 0),
])
def test_pixels_without_depth_give_no_point(depth: np.ndarray, left: int) -> None:
    points = points_from_depth(depth, PinholeCamera(2, 2, 2.0, 2.0, 1.0, 1.0))
    assert len(points) == left and np.isfinite(points).all()


def test_large_images_are_thinned_to_a_grid() -> None:
    points = points_from_depth(np.ones((480, 640), np.float32), LENS.resized(640, 480), max_points=5000)
    assert 4000 < len(points) <= 5000
    pixels = LENS.project(points)
    assert np.allclose(pixels.mean(axis=0), [16.0, 12.0], atol=0.1), "the whole picture"


def test_a_depth_image_of_another_size_covers_the_same_field() -> None:
    points = points_from_depth(np.ones((12, 16), np.float32), LENS)
    assert np.allclose(LENS.project(points)[0], [1.0, 1.0])


def test_distortion_is_taken_out() -> None:
    bent = PinholeCamera(32, 24, 30.0, 30.0, 16.0, 12.0, (-0.2, 0.05, 0.001, 0.0))
    points = points_from_depth(np.full((24, 32), 2.0, np.float32), bent)
    assert np.allclose(distort(points, bent)[:33], [[c % 32 + 0.5, c // 32 + 0.5] for c in range(33)], atol=1e-3)


@pytest.mark.parametrize("depth, words", [
    (np.zeros((24, 32), np.uint8), "float.* metres or uint16 millimetres, got uint8"),
    (np.zeros((24, 32, 1), np.float32), "shape .height, width., got"), (np.zeros((0, 5), np.float32), "got .0, 5."),
    (np.zeros((24, 24), np.float32), "24x24 pixels and the picture 32x24, another shape"),
])
def test_what_is_no_depth_of_this_picture_is_refused(depth: np.ndarray, words: str) -> None:
    with pytest.raises(DepthError, match=words):
        points_from_depth(depth, LENS)


def test_clouds_are_thinned_evenly_and_lose_what_is_not_finite() -> None:
    cloud = np.arange(3000.0).reshape(1000, 3)
    cloud[::2] = np.nan
    few = thinned(cloud, 100)
    assert len(few) == 100 and np.isfinite(few).all() and few[0, 0] < 10 and few[-1, 0] > 2900
    assert len(thinned(cloud, 600)) == 500
