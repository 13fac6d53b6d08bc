"""The support plane in points: exact, noisy, among outliers, beside walls; and when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kyvo_ros.depth import Expected, PlaneConfig, PlaneNotFoundError, SupportPlane, find_plane, rated
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError

LENS = PinholeCamera(320, 240, 350.0, 350.0, 160.0, 120.0)
VIEW = CameraView(LENS, PlaneCamera(1.2, math.radians(35.0)), roll_rad=0.1)
UP = VIEW.plane_T_optical().rotation[2]


def on_plane(rng: np.random.Generator, count: int, noise: float = 0.0) -> np.ndarray:
    """Points (count, 3) of VIEW's plane in the optical frame, moved along their rays by `noise` of their range."""
    points = np.column_stack([rng.uniform(-0.4, 0.4, (count, 2)), np.zeros(count)])
    return VIEW.plane_T_optical().inverse().apply(points) * (1.0 + noise * rng.normal(size=(count, 1)))


def wall(rng: np.random.Generator, count: int) -> np.ndarray:
    """Points (count, 3) of an upright wall behind the table."""
    x, z = rng.uniform(-0.6, 0.6, count), rng.uniform(0.0, 0.8, count)
    return VIEW.plane_T_optical().inverse().apply(np.column_stack([x, np.full(count, 0.5), z]))


def assert_is_the_plane(plane: SupportPlane, distance: float, degrees: float) -> None:
    found = plane.view(LENS)
    assert found.plane.distance_m == pytest.approx(VIEW.plane.distance_m, abs=distance)
    for name, true in (("elevation_rad", VIEW.plane.elevation_rad), ("roll_rad", VIEW.roll_rad)):
        value = getattr(found.plane if name == "elevation_rad" else found, name)
        assert math.degrees(abs(value - true)) < degrees


def test_a_plane_without_noise_is_found_exactly() -> None:
    plane = find_plane(on_plane(np.random.default_rng(0), 2000))
    assert_is_the_plane(plane, 1e-9, 1e-6)
    assert (plane.inlier_ratio, plane.angle_rad) == (1.0, None) and plane.rms_m < 1e-12
    assert np.allclose(plane.heights_m(np.zeros((1, 3))), VIEW.plane.height_m())


def test_a_view_and_its_plane_are_the_same_thing() -> None:
    back = SupportPlane.of(VIEW).view(LENS)
    assert np.allclose(back.plane_T_optical().matrix(), VIEW.plane_T_optical().matrix(), atol=1e-12)
    assert back.world_T_plane is None


@pytest.mark.parametrize("seed", range(3))
def test_sixty_percent_of_outliers_do_no_harm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    elsewhere = LENS.rays(rng.uniform(0, 240, (1800, 2))) * rng.uniform(0.4, 2.5, (1800, 1))
    plane = find_plane(np.vstack([on_plane(rng, 1200, 0.003), elsewhere]))
    assert_is_the_plane(plane, 0.005, 0.5)
    assert 0.38 < plane.inlier_ratio < 0.48 and plane.rms_m < 0.008


def test_the_same_points_give_the_same_plane() -> None:
    points = on_plane(np.random.default_rng(1), 3000, 0.004)
    one, other = find_plane(points), find_plane(points)
    assert (one.normal == other.normal).all() and one.height_m == other.height_m


def test_the_quality_tells_the_noise() -> None:
    calm, rough = (find_plane(on_plane(np.random.default_rng(2), 3000, noise)) for noise in (0.001, 0.004))
    along_the_normal = math.sin(VIEW.plane.elevation_rad) * VIEW.plane.distance_m
    assert calm.rms_m == pytest.approx(0.001 * along_the_normal, rel=0.15)
    assert rough.rms_m > 3 * calm.rms_m


def test_a_wall_that_is_larger_is_no_support_plane() -> None:
    rng = np.random.default_rng(3)
    points = np.vstack([on_plane(rng, 900, 0.002), wall(rng, 2000)])
    for expected in (None, Expected(UP)):
        plane = find_plane(points, expected)
        assert_is_the_plane(plane, 0.01, 1.0)
        assert plane.inlier_ratio == pytest.approx(900 / 2900, abs=0.05)


def test_a_wall_alone_is_refused_with_the_reason() -> None:
    points = wall(np.random.default_rng(4), 2000)
    with pytest.raises(PlaneNotFoundError, match="looks down on; tilt the camera, or tell what is up"):
        find_plane(points)
    with pytest.raises(PlaneNotFoundError, match="within 15 degrees of what is expected to be level"):
        find_plane(points, Expected(UP))


def test_the_expected_distance_tells_the_table_from_the_floor() -> None:
    rng = np.random.default_rng(5)
    table, floor = on_plane(rng, 900, 0.002), on_plane(rng, 2000, 0.002) - 0.3 * UP
    assert find_plane(np.vstack([table, floor]), Expected(UP)).height_m > VIEW.plane.height_m() + 0.25
    assert_is_the_plane(find_plane(np.vstack([table, floor]), Expected(UP, 1.0)), 0.01, 1.0)


def test_the_angle_to_what_was_expected_is_told_and_gated() -> None:
    points = on_plane(np.random.default_rng(6), 1000)
    tilted = {degrees: np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]) @ UP
              for degrees in (10, 25) for a in [math.radians(degrees)]}
    assert math.degrees(find_plane(points, Expected(tilted[10])).angle_rad) == pytest.approx(10.0, abs=0.1)
    with pytest.raises(PlaneNotFoundError, match="expected to be level"):
        find_plane(points, Expected(tilted[25]))


@pytest.mark.parametrize("points, words", [
    (np.zeros((0, 3)), "depth shows 0 points, a plane needs 200"),
    (np.random.default_rng(7).uniform([-1, -1, 0.5], [1, 1, 3.0], (3000, 3)), "of the depth points lie on the best"),
    (np.tile([[0.1, 0.2, 1.0]], (500, 1)), "no plane in the depth points"),
    (np.linspace([0.0, 0.0, 1.0], [0.5, 0.1, 2.0], 500), "no plane in the depth points"),
])
def test_what_is_no_plane_is_refused(points: np.ndarray, words: str) -> None:
    with pytest.raises(PlaneNotFoundError, match=words):
        find_plane(points)


def test_a_stated_plane_is_rated_by_the_points() -> None:
    points = on_plane(np.random.default_rng(8), 1000, 0.002)
    right, wrong = SupportPlane.of(VIEW), SupportPlane(UP, VIEW.plane.height_m() + 0.1)
    assert rated(right, points).inlier_ratio > 0.98 and rated(wrong, points).inlier_ratio == 0.0


def test_a_view_without_a_plane_has_none_to_expect() -> None:
    assert Expected.of(CameraView(LENS)) is None and Expected.of(VIEW).distance_m == 1.2
    with pytest.raises(PlaneNotVisibleError):
        SupportPlane.of(CameraView(LENS))


@pytest.mark.parametrize("values, found", [
    ({"min_points": 100}, True), ({"min_points": 151}, False), ({"min_inlier_ratio": 0.9}, False),
    ({"tolerance": 1e-6, "least_tolerance_m": 1e-6}, False),
    ({"least_tolerance_m": 2.0, "min_inlier_ratio": 0.99}, True),
    ({"max_roll_rad": 0.05}, False), ({"hypotheses": 30, "scored_points": 100, "seed": 5}, True)])
def test_every_gate_decides(values: dict, found: bool) -> None:
    rng = np.random.default_rng(9)
    points = np.vstack([on_plane(rng, 120, 0.003), wall(rng, 30)])
    try:
        assert find_plane(points, config=PlaneConfig(**{"min_points": 100, **values})).inlier_ratio > 0.5
    except PlaneNotFoundError:
        assert not found
    else:
        assert found


def test_the_gates_about_what_is_expected_can_be_widened() -> None:
    points, turned = on_plane(np.random.default_rng(10), 500), Expected(np.array([0.3, -0.6, -0.74]), 2.0)
    with pytest.raises(PlaneNotFoundError):
        find_plane(points, turned)
    find_plane(points, turned, PlaneConfig(max_tilt_rad=0.6, max_distance_ratio=2.0))


@pytest.mark.parametrize("values, words", [
    ({"tolerance": 0.0}, "tolerance must be between 0 and inf, got 0"), ({"hypotheses": 2}, "hypotheses"),
    ({"min_inlier_ratio": 1.0}, "min_inlier_ratio"), ({"max_distance_ratio": 0.9}, "max_distance_ratio")])
def test_settings_that_cannot_be_meant_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PlaneConfig(**values)
