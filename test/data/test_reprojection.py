"""Images of other cameras in the same place: a known point lands where the other camera's projection puts it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.data.reprojection import other_cameras, reprojected, with_camera
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera
from kyvo_ros.scene.distortion import distort

SOURCE = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
VIEW = CameraView(SOURCE, PlaneCamera(11.3, 0.5))
POINT = np.array([0.9, 0.7, 0.35])
CAMERAS = other_cameras(SOURCE)


def blob(u: float, v: float) -> np.ndarray:
    rows, columns = np.mgrid[:240, :320] + 0.5
    image = 255 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 5.0**2))
    return np.repeat(image[..., None], 3, axis=2).astype(np.uint8)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[:image.shape[0], :image.shape[1]] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("name", CAMERAS)
def test_a_point_lands_where_the_camera_projects_it(name: str) -> None:
    camera, roll = CAMERAS[name]
    source_pixel = SOURCE.project(VIEW.plane_T_optical().inverse().apply(POINT))
    image = reprojected(blob(*source_pixel), SOURCE, camera, roll)
    assert image.shape == (camera.height, camera.width, 3) and image.dtype == np.uint8
    expected = distort(with_camera(VIEW, camera, roll).plane_T_optical().inverse().apply(POINT[None]), camera)[0]
    assert centroid(image) == pytest.approx(expected, abs=0.3)


def test_a_quarter_turn_by_hand() -> None:
    """A camera rolled by 90 degrees clockwise sees what was 50 px to the right of the centre 50 px above it."""
    square = PinholeCamera(240, 240, 350.0, 350.0, 120.0, 120.0)
    seen = centroid(reprojected(blob(210, 120), SOURCE, square, math.pi / 2))
    assert seen == pytest.approx((120, 70), abs=0.2)


@pytest.mark.parametrize("name", CAMERAS)
def test_the_canonical_warp_takes_it_back(name: str) -> None:
    camera, roll = CAMERAS[name]
    rows, columns = np.mgrid[:240, :320] / 40.0
    smooth = np.stack([128 + 100 * np.sin(rows + k) * np.cos(columns) for k in range(3)], axis=-1).astype(np.uint8)
    exact = to_canonical(smooth, VIEW, CanonicalCamera()).astype(int)
    view = with_camera(VIEW, camera, roll)
    again = to_canonical(reprojected(smooth, SOURCE, camera, roll), view, CanonicalCamera()).astype(int)
    middle = (slice(30, 50), slice(46, 82))  # every camera sees it
    assert np.abs(again - exact)[middle].max() <= 4


def test_all_cameras_differ() -> None:
    assert len(set(CAMERAS.values())) == len(CAMERAS) and (SOURCE, 0.0) not in CAMERAS.values()
