"""Cameras over a plane: projection and rays, the support-plane frame, roll, and cameras that do not see the plane."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, Transform, view_from_pose

CAMERA = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
distances = st.floats(0.2, 20.0)
elevations = st.floats(math.radians(8.5), math.radians(84.5))
angles = st.floats(-math.pi + 1e-3, math.pi - 1e-3)


def rolled(angle_rad: float) -> Transform:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return Transform(np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]), np.zeros(3))


# Intrinsics.

@given(st.floats(0, 320), st.floats(0, 240), st.floats(0.1, 50))
def test_rays_project_to_their_pixels(u: float, v: float, depth: float) -> None:
    np.testing.assert_allclose(CAMERA.project(CAMERA.rays([u, v]) * depth), [u, v], atol=1e-9)


def test_points_behind_the_camera_have_no_pixel() -> None:
    assert np.isnan(CAMERA.project([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])).all()


def test_resizing_keeps_the_field_of_view() -> None:
    half = CAMERA.resized(160, 120)
    point = np.array([0.3, -0.2, 2.0])
    np.testing.assert_allclose(half.project(point) * 2, CAMERA.project(point))
    assert half.resized(320, 240) == CAMERA


@pytest.mark.parametrize("changes, message", [
    ({"width": 0}, "image size"), ({"fx": 0.0}, "is the camera calibrated"), ({"cx": math.nan}, "finite"),
    ({"distortion": (math.inf,)}, "finite")])
def test_bad_intrinsics_are_rejected(changes: dict, message: str) -> None:
    values = {"width": 320, "height": 240, "fx": 350.0, "fy": 350.0, "cx": 160.0, "cy": 120.0, **changes}
    with pytest.raises(ValueError, match=message):
        PinholeCamera(**values)


# The support-plane frame.

@settings(deadline=None)
@given(distances, elevations)
def test_the_frame_is_tied_to_the_optical_axis(distance: float, elevation: float) -> None:
    plane = PlaneCamera(distance, elevation)
    pose = plane.plane_T_optical()
    np.testing.assert_allclose(pose.apply([0.0, 0.0, distance]), np.zeros(3), atol=1e-9)
    assert pose.translation[2] == pytest.approx(plane.height_m())
    optical_T_plane = pose.inverse().rotation
    np.testing.assert_allclose(optical_T_plane[:, 0], [1.0, 0.0, 0.0], atol=1e-12)  # x is right in the image
    assert optical_T_plane[2, 1] > 0  # y leads away from the camera
    assert optical_T_plane[1, 2] < 0  # z is up in the image


@settings(deadline=None)
@given(distances, elevations, st.tuples(st.floats(0, 320), st.floats(0, 240)), st.floats(0.0, 0.9))
def test_plane_points_are_seen_at_their_pixels(distance: float, elevation: float, pixel: tuple, share: float) -> None:
    plane = PlaneCamera(distance, elevation)
    direction = plane.plane_T_optical().rotation @ CAMERA.rays(pixel)
    assume(direction[2] < -1e-3)  # under the horizon
    height = share * plane.height_m()
    point = plane.plane_points(CAMERA, pixel, height)
    assert point[2] == pytest.approx(height, abs=1e-6)
    np.testing.assert_allclose(CAMERA.project(plane.plane_T_optical().inverse().apply(point)), pixel, atol=1e-5)


def test_what_lies_above_the_horizon_or_the_camera_is_not_seen() -> None:
    plane = PlaneCamera(5.0, math.radians(10.0))
    points = plane.plane_points(CAMERA, [[160.0, 0.0], [160.0, 120.0]])
    assert np.isnan(points[0]).all() and np.allclose(points[1], 0.0)
    assert np.isnan(plane.plane_points(CAMERA, [160.0, 120.0], plane.height_m() + 0.1)).all()


def test_scaling_moves_the_camera_along_its_axis() -> None:
    assert PlaneCamera(2.0, 0.5).scaled(3.0) == PlaneCamera(6.0, 0.5)


# From a pose in the world.

@settings(deadline=None)
@given(distances, elevations, angles, angles, st.floats(-3.0, 3.0), st.tuples(st.floats(-5, 5), st.floats(-5, 5)))
def test_a_view_is_recovered_from_its_pose(
        distance: float, elevation: float, roll: float, yaw: float, plane_height: float, origin: tuple) -> None:
    world_T_plane = Transform.from_yaw(yaw, [*origin, plane_height])
    plane = PlaneCamera(distance, elevation)
    world_T_optical = world_T_plane @ plane.plane_T_optical() @ rolled(roll)
    view = view_from_pose(CAMERA, world_T_optical, plane_height)
    assert view.plane.distance_m == pytest.approx(distance, abs=1e-6)
    assert view.plane.elevation_rad == pytest.approx(elevation, abs=1e-6)
    assert view.roll_rad == pytest.approx(roll, abs=1e-6)
    np.testing.assert_allclose(view.world_T_plane.matrix(), world_T_plane.matrix(), atol=1e-5)
    recovered = view.world_T_plane @ view.plane_T_optical()
    np.testing.assert_allclose(recovered.matrix(), world_T_optical.matrix(), atol=1e-6)


@pytest.mark.parametrize("tilt_deg, height, message", [
    (-20.0, 1.0, "look down on the support plane by 8 to 85 degrees, got -20.0"),
    (5.0, 1.0, "8 to 85 degrees, got 5.0"),
    (88.0, 1.0, "8 to 85 degrees, got 88.0"),
    (90.0, 1.0, "8 to 85 degrees, got 90.0"),
    (30.0, -1.0, "lie in front of the camera"),
])
def test_a_camera_without_a_usable_view_of_the_plane_says_so(tilt_deg: float, height: float, message: str) -> None:
    tilt = math.radians(tilt_deg)
    c, s = math.cos(tilt), math.sin(tilt)
    rotation = np.array([[1.0, 0.0, 0.0], [0.0, -s, c], [0.0, -c, -s]])
    with pytest.raises(PlaneNotVisibleError, match=message):
        view_from_pose(CAMERA, Transform(rotation, np.array([0.0, 0.0, height])))


def test_a_view_without_a_plane_says_so() -> None:
    with pytest.raises(PlaneNotVisibleError, match="unknown"):
        CameraView(CAMERA).plane_T_optical()


@pytest.mark.parametrize("split", ["train", "val"])
def test_clevr_objects_are_seen_at_their_pixels(shared_dir: Path, split: str) -> None:
    scenes = json.loads((shared_dir / "clevr" / split / "scenes.json").read_text())["scenes"]
    for scene in scenes[:200]:
        c = scene["camera"]
        intrinsics = PinholeCamera(*(c[key] for key in ("width", "height", "fx", "fy", "cx", "cy")))
        view = view_from_pose(intrinsics, Transform.from_matrix(c["world_to_camera"]).inverse())
        assert abs(view.roll_rad) < 1e-4
        in_world = np.array([o["3d_coords"] for o in scene["objects"]])
        in_optical = (view.world_T_plane @ view.plane_T_optical()).inverse().apply(in_world)
        expected = np.array([o["pixel_coords"] for o in scene["objects"]])
        np.testing.assert_allclose(intrinsics.project(in_optical), expected[:, :2], atol=0.02)
        np.testing.assert_allclose(in_optical[:, 2], expected[:, 2], atol=2e-3)
        right = view.world_T_plane.rotation[:, 0]
        np.testing.assert_allclose(right, scene["directions"]["right"], atol=1e-4)
        np.testing.assert_allclose(view.world_T_plane.rotation[:, 1], scene["directions"]["behind"], atol=1e-4)
