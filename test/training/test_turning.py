"""Virtual turns of a camera: the turned image and the turned scene still belong together."""

import math

import numpy as np
import pytest

from kyvo_ros.autoencoders.canonical import CanonicalCamera, to_canonical
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, Scene, SceneObject, Transform
from kyvo_ros.scene.turns import turn_transform, turned_view
from kyvo_ros.training.turning import turned_example

INTRINSICS = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
VIEW = CameraView(INTRINSICS, PlaneCamera(11.3, 0.5), 0.0, Transform.from_yaw(0.7, (0.2, -0.1, 0.0)))


def _dot_image(view: CameraView, point: np.ndarray) -> np.ndarray:
    """A white blob where a point of the support-plane frame projects."""
    u, v = INTRINSICS.project(view.plane_T_optical().inverse().apply(point))
    rows, columns = np.mgrid[:240, :320] + 0.5
    blob = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 4.0**2))
    return np.repeat((255 * blob)[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("pan,tilt,lens", [(0, 0, 1), (1.5, 0, 1), (0, 1.5, 1.2), (-1.2, 1.0, 0.9), (0.8, -1.4, 1)])
def test_a_dot_stays_on_its_point(pan, tilt, lens):
    point = np.array([0.6, 0.9, 0.35])
    scene = Scene((SceneObject({"shape": "sphere"}, point),))
    image, turned, view = turned_example(_dot_image(VIEW, point), scene, VIEW, CanonicalCamera().zoomed(lens),
                                         math.radians(pan), math.radians(tilt))
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    seen = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
    projected = view.intrinsics.project(view.plane.plane_T_optical().inverse().apply(turned.positions_m()[0]))
    assert np.allclose(seen, projected, atol=0.1)


def test_no_turn_is_the_canonical_view():
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image[::8, ::8], 8, 0), 8, 1)  # coarse, so that resampling hardly matters
    turned, _, view = turned_example(image, Scene(), VIEW, CanonicalCamera(), 0.0, 0.0)
    plain = to_canonical(image, VIEW, CanonicalCamera())
    assert np.abs(turned.astype(int) - plain).mean() < 6
    assert view.plane.distance_m == pytest.approx(11.3) and view.plane.elevation_rad == pytest.approx(0.5)


def test_objects_whose_centres_leave_the_view_are_left_out():
    image, across = np.zeros((240, 320, 3), np.uint8), np.linspace(-4.4, 4.4, 9)
    scene = Scene(tuple(SceneObject({}, np.array([x, 0.0, 0.35])) for x in across))
    kept = {}
    for lens in (0.9, 1.3):
        _, seen, view = turned_example(image, scene, VIEW, CanonicalCamera().zoomed(lens), 0.0, 0.0)
        columns = view.intrinsics.project(view.plane_T_optical().inverse().apply(seen.positions_m()))[:, 0]
        assert (columns >= 0).all() and (columns < 128).all()
        kept[lens] = seen.positions_m()[:, 0].round(6).tolist()
    assert kept == {0.9: across.round(6).tolist(), 1.3: across[1:-1].round(6).tolist()}


def test_the_world_does_not_move_with_the_camera():
    turned = turned_view(VIEW, turn_transform(0.02, -0.015))
    before = VIEW.world_T_plane @ VIEW.plane_T_optical()
    after = turned.world_T_plane @ turned.plane_T_optical()
    assert np.allclose(before.translation, after.translation)
    assert np.allclose((before.inverse() @ after).rotation, turn_transform(0.02, -0.015).rotation)


@pytest.mark.parametrize("width", [320, 1280])
def test_turned_images_are_as_smooth_as_those_of_run_time(width):
    """Whatever the size of the source: on noise, which shows aliasing, of 1.5 degrees or none."""
    noise = np.random.default_rng(0).integers(0, 256, (3 * width // 4, width, 3), dtype=np.uint8)
    view = CameraView(INTRINSICS.resized(width, 3 * width // 4), VIEW.plane, 0.0, VIEW.world_T_plane)
    plain = to_canonical(noise, view, CanonicalCamera())
    for pan in (0.0, 1.5):
        turned, _, _ = turned_example(noise, Scene(), view, CanonicalCamera(), math.radians(pan), 0.0)
        assert turned.std() == pytest.approx(plain.std(), rel=0.25)
