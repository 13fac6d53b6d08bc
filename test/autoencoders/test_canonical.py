"""The canonical camera: exact for CLEVR's frames, and rays kept for every other camera."""

import math

import cv2
import numpy as np
import pytest

from kyvo_ros.autoencoders.canonical import CELL_HEIGHT, CELL_LIMIT, CanonicalCamera, CanonicalError, to_canonical
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera
from kyvo_ros.scene.distortion import distort

CANONICAL = CanonicalCamera()
CLEVR = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
DISTORTED = {
    "plumb_bob": PinholeCamera(320, 240, 300, 305, 165, 117, (-0.25, 0.09, 0.001, -0.002, 0.0)),
    "rational_polynomial": PinholeCamera(320, 240, 300, 305, 165, 117, (0.3, -0.1, 1e-3, -1e-3, 0.02, 0.6, -0.1, 0.03),
                                         "rational_polynomial"),
    "equidistant": PinholeCamera(320, 240, 210, 212, 165, 117, (0.02, -0.01, 0.003, -0.001), "equidistant"),
}


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(camera, roll_rad=0.0):
    """What a camera sees of a far wall whose colour varies slowly with the level ray's direction."""
    v, u = np.meshgrid(np.arange(camera.height) + 0.5, np.arange(camera.width) + 0.5, indexing="ij")
    pixels = np.stack([u, v], axis=-1).reshape(-1, 2)
    bent = camera.rays(pixels)[:, :2]
    xy = bent.copy()
    for _ in range(40 if camera.distortion else 0):  # what distorts to this pixel, by fixed-point iteration
        here = distort(np.concatenate([xy, np.ones((len(xy), 1))], axis=1), camera)
        xy = np.clip(xy + 0.8 * (bent - camera.rays(here)[:, :2]), -1, 1)
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    x, y = (xy @ np.array([[c, s], [-s, c]])).T
    wall = 127 + 90 * np.stack([np.sin(7 * x + 1), np.sin(8 * y), np.sin(5 * (x + y))], axis=-1)
    return wall.reshape(camera.height, camera.width, 3).round().astype(np.uint8)


def test_clevr_is_a_crop_and_an_area_average():
    image = noise(320, 240)
    assert (to_canonical(image, CameraView(CLEVR), CANONICAL)
            == cv2.resize(image[25:225], (128, 80), interpolation=cv2.INTER_AREA)).all()


def test_canonical_image_passes_unchanged():
    image = noise(128, 80)
    assert (to_canonical(image, CameraView(CANONICAL.intrinsics()), CANONICAL) == image).all()


def test_general_path_agrees_with_the_crop():
    image = smooth(CLEVR)
    exact = to_canonical(image, CameraView(CLEVR), CANONICAL).astype(int)
    tiny = CameraView(PinholeCamera(320, 240, 350, 350, 160, 120, (1e-9, 0, 0, 0, 0)))
    assert np.abs(to_canonical(image, tiny, CANONICAL) - exact).max() <= 1
    turned = CameraView(CLEVR, roll_rad=2e-4)
    assert np.abs(to_canonical(image, turned, CANONICAL) - exact).max() <= 1


@pytest.mark.parametrize("roll_deg", [0.0, -20.0])
@pytest.mark.parametrize("camera", [
    PinholeCamera(400, 300, 310, 325, 194, 156), PinholeCamera(960, 540, 750, 750, 485, 270),
    PinholeCamera(100, 90, 90, 90, 50, 44), *DISTORTED.values(),
], ids=["fine", "finer", "coarse", *DISTORTED])
def test_any_camera_sees_the_same_rays(camera, roll_deg):
    roll = math.radians(roll_deg)
    seen = to_canonical(smooth(camera, roll), CameraView(camera, roll_rad=roll), CANONICAL).astype(int)
    expected = smooth(CANONICAL.intrinsics()).astype(int)
    inside = (slice(16, 64), slice(20, 108))  # a narrow or turned camera does not reach the corners
    assert np.abs(seen - expected)[inside].max() <= 6
    assert np.abs(seen - expected)[inside].mean() < 1


def test_roll_has_the_sign_of_camera_view():
    """A point right of the axis in the level frame stays where the canonical camera expects it."""
    roll = math.radians(30)
    level = np.array([0.25, 0.0, 1.0])
    c, s = math.cos(roll), math.sin(roll)
    u, v = CLEVR.project(np.array([c * level[0], -s * level[0], 1.0]))  # the ray in the rolled optical frame
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.circle(image, (int(u), int(v)), 8, (255, 255, 255), -1)
    seen = to_canonical(image, CameraView(CLEVR, roll_rad=roll), CANONICAL)[..., 0].astype(float)
    rows, columns = np.indices(seen.shape) + 0.5
    expected = CANONICAL.intrinsics().project(level)
    assert (columns * seen).sum() / seen.sum() == pytest.approx(expected[0], abs=0.5)
    assert (rows * seen).sum() / seen.sum() == pytest.approx(expected[1], abs=0.5)


@pytest.mark.parametrize("scale", [2, 5, 9])
def test_shrinking_does_not_alias(scale):
    focal = 140 * scale
    camera = PinholeCamera(128 * scale + 3, 80 * scale + 3, focal, focal, 64 * scale + 1.3, 38 * scale + 1.7)
    checks = np.zeros((camera.height, camera.width, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255
    assert np.abs(to_canonical(checks, CameraView(camera), CANONICAL)[2:-2, 2:-2].astype(int) - 127).max() <= 30


def test_rays_outside_the_source_repeat_its_border():
    image = np.full((240, 320, 3), 90, np.uint8)
    assert (to_canonical(image, CameraView(PinholeCamera(320, 240, 900, 900, 160, 120)), CANONICAL) == 90).all()


@pytest.mark.parametrize("image, camera, message", [
    (noise(320, 240).astype(np.float32), CLEVR, "uint8"),
    (noise(320, 240)[..., :1], CLEVR, r"\(H, W, 3\)"),
    (noise(640, 480), CLEVR, "640x480 and its camera 320x240"),
])
def test_misfits_are_named(image, camera, message):
    with pytest.raises(CanonicalError, match=message):
        to_canonical(image, CameraView(camera), CANONICAL)


def test_assumed_cameras():
    assert CANONICAL.assumed_camera(320, 240) == CLEVR
    assert CANONICAL.assumed_camera(480, 320) == PinholeCamera(480, 320, 525.0, 525.0, 240.0, 160.0)
    assert CANONICAL.assumed_camera(256, 160) == CANONICAL.intrinsics().resized(256, 160)
    with pytest.raises(CanonicalError, match="500x500"):
        CANONICAL.assumed_camera(500, 500)


def test_cells_lie_on_the_ground_where_their_centres_look():
    cells = CANONICAL.cells(None, (10, 16))
    assert cells.shape == (160, 2) and cells.dtype == np.float32 and np.abs(cells).max() <= CELL_LIMIT
    row, column = 6, 3
    plane = CANONICAL.nominal_plane()
    point = np.array([*cells[row * 16 + column], CELL_HEIGHT])
    optical = plane.plane_T_optical().inverse().apply(point)
    assert CANONICAL.intrinsics().project(optical) == pytest.approx([(column + 0.5) * 8, (row + 0.5) * 8], abs=1e-4)


def test_cells_above_the_horizon_end_at_the_limit():
    cells = CANONICAL.cells(PlaneCamera(11.0, math.radians(9)), (10, 16)).reshape(10, 16, 2)
    assert (cells[0, :, 1] == CELL_LIMIT).all() and (cells[0, :8, 0] == -CELL_LIMIT).all()
    assert (cells[0, 8:, 0] == CELL_LIMIT).all()


def test_canonical_camera_as_configuration():
    assert CanonicalCamera.from_dict(CANONICAL.to_dict()) == CANONICAL
    with pytest.raises(ValueError):
        CanonicalCamera(fx=-1.0)


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.3, 2.0, 5.0])
def test_a_camera_elsewhere_shows_objects_about_as_large(factor):
    canonical = CanonicalCamera()
    far = canonical.nominal_plane().scaled(factor)
    lens = canonical.seen_from(far)
    assert canonical.zoom_step**-0.51 < lens.fx / far.distance_m / (canonical.fx / canonical.nominal_distance) < 1.1
    assert (lens.width, lens.height, lens.cx, lens.cy) == (canonical.width, canonical.height, canonical.cx, canonical.cy)
    middle = far.plane_points(lens.intrinsics(), np.array([lens.cx, lens.cy]), 0.0)
    assert np.allclose(middle[:2], 0.0, atol=1e-9)


@pytest.mark.parametrize("distance", [10.4, 11.267, 12.1])
def test_clevrs_own_cameras_share_the_nominal_lens(distance):
    canonical = CanonicalCamera()
    assert canonical.seen_from(PlaneCamera(distance, 0.5)) is canonical
    assert canonical.seen_from(None) is canonical


def test_a_step_of_one_means_one_lens():
    fixed = CanonicalCamera(zoom_step=1.0)
    assert fixed.seen_from(PlaneCamera(40.0, 0.5)) is fixed
    with pytest.raises(ValueError, match="zoom_step"):
        CanonicalCamera(zoom_step=0.9)
