"""CLEVR's placement rules, held by every drawn scene."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from kyvo_ros.data.placement import (
    CAMERA_HOME, LAMP_HOMES, RADII, SHAPES, PlacementError, PlacementSettings, SceneBatch, look_at, place_again,
    sample_scenes)

BATCH = 150


@pytest.fixture(scope="module", params=[PlacementSettings(), PlacementSettings(max_objects=5, min_gap=0.6, margin=0.2)])
def drawn(request) -> tuple[SceneBatch, PlacementSettings]:
    return sample_scenes(np.random.default_rng(7), BATCH, settings=request.param), request.param


def _pairs(scenes: SceneBatch, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs of objects of a scene."""
    return np.triu_indices(int(scenes.count[row]), k=1)


def test_gaps_and_margins_hold(drawn) -> None:
    scenes, settings = drawn
    for row in range(BATCH):
        i, j = _pairs(scenes, row)
        apart = scenes.position[row, i, :2] - scenes.position[row, j, :2]
        radius = RADII[scenes.size[row]]
        assert (np.linalg.norm(apart, axis=1) - radius[i] - radius[j] >= settings.min_gap - 1e-4).all()
        axes = scenes.world_T_optical[row, :2, [0, 2]]  # rows: right and forward
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        assert (np.abs(apart @ axes.T) >= settings.margin - 1e-4).all()


def test_objects_stand_on_the_plane_within_the_extent(drawn) -> None:
    scenes, settings = drawn
    flat = np.where(scenes.shape == SHAPES.index("cube"), 1 / math.sqrt(2), 1.0)
    height = np.where(scenes.mask, RADII[scenes.size] * flat, 0.0)
    np.testing.assert_allclose(scenes.position[..., 2], height, rtol=1e-6)
    assert np.abs(scenes.position[..., :2]).max() <= settings.extent


def test_padding_is_zero(drawn) -> None:
    scenes, _ = drawn
    for name in ("yaw_rad", "size", "color", "material", "shape"):
        assert not getattr(scenes, name)[~scenes.mask].any()


def test_every_number_of_objects_is_equally_frequent() -> None:
    count = sample_scenes(np.random.default_rng(0), 1600).count
    frequency = np.bincount(count, minlength=11)[3:]
    assert frequency.sum() == 1600 and frequency.min() > 140 and frequency.max() < 260


def test_only_the_named_shapes_are_drawn() -> None:
    assert set(np.unique(sample_scenes(np.random.default_rng(0), 50).shape)) == {0, 1, 2}
    others = sample_scenes(np.random.default_rng(0), 50, settings=PlacementSettings(shapes=("sphere", "cone")))
    assert set(np.unique(others.shape[others.mask])) == {SHAPES.index("sphere"), SHAPES.index("cone")}


def test_cameras_look_at_the_origin_without_roll() -> None:
    scenes = sample_scenes(np.random.default_rng(1), 50)
    optical_T_world = np.linalg.inv(scenes.world_T_optical)
    np.testing.assert_allclose(optical_T_world[:, :2, 3], 0.0, atol=1e-9)  # the origin is on the optical axis
    np.testing.assert_allclose(scenes.world_T_optical[:, 2, 0], 0.0, atol=1e-12)  # right is level
    assert (scenes.world_T_optical[:, 2, 1] < 0).all()  # the image's down goes down
    assert np.abs(scenes.world_T_optical[:, :3, 3] - CAMERA_HOME).max() <= 0.5
    assert np.abs(scenes.lights - LAMP_HOMES).max() <= 1.0 + 1e-5


def test_settings_of_the_camera_are_followed() -> None:
    settings = PlacementSettings(
        elevation_deg=(50.0, 52.0), distance_factor=(2.0, 2.0), camera_jitter=0.0, aim_jitter=0.5)
    scenes = sample_scenes(np.random.default_rng(2), 20, settings=settings)
    camera = scenes.world_T_optical[:, :3, 3]
    distance = np.linalg.norm(camera, axis=1)
    np.testing.assert_allclose(distance, 2 * np.linalg.norm(CAMERA_HOME), rtol=1e-9)
    elevation = np.degrees(np.arcsin(camera[:, 2] / distance))
    assert (elevation >= 50.0 - 1e-6).all() and (elevation <= 52.0 + 1e-6).all()
    forward = scenes.world_T_optical[:, :3, 2]
    aim = camera - forward * (camera[:, 2] / forward[:, 2])[:, None]
    assert 0.05 < np.abs(aim).max() <= 0.5 + 1e-9


def test_lamps_stand_in_their_homes_or_turn_together() -> None:
    home = sample_scenes(np.random.default_rng(2), 200, settings=PlacementSettings(lamp_jitter=0.0))
    assert np.allclose(home.lights, LAMP_HOMES.astype(np.float32))
    turned = sample_scenes(np.random.default_rng(2), 200, settings=PlacementSettings(lamp_jitter=0.0, lamp_turn_rad=1.0))
    angles = np.arctan2(turned.lights[..., 1], turned.lights[..., 0]) - np.arctan2(LAMP_HOMES[:, 1], LAMP_HOMES[:, 0])
    angles = (angles + math.pi) % (2 * math.pi) - math.pi
    assert np.allclose(angles, angles[:, :1], atol=1e-5) and 0.9 < np.abs(angles).max() <= 1.0 + 1e-5
    assert np.allclose(np.linalg.norm(turned.lights, axis=-1), np.linalg.norm(LAMP_HOMES, axis=-1), atol=1e-5)
    assert np.allclose(turned.lights[..., 2], LAMP_HOMES[:, 2])


def test_look_at_is_a_rotation() -> None:
    pose = look_at(np.array([[3.0, 1.0, 2.0]]), np.zeros((1, 3)))[0, :3, :3]
    np.testing.assert_allclose(pose @ pose.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose) == pytest.approx(1.0)


def test_the_seed_decides_the_scenes() -> None:
    one, same, other = (sample_scenes(np.random.default_rng(seed), 8) for seed in (3, 3, 4))
    assert all((getattr(one, f.name) == getattr(same, f.name)).all() for f in dataclasses.fields(SceneBatch))
    assert (one.position != other.position).any()


def test_place_again_moves_only_what_it_is_told() -> None:
    settings = PlacementSettings(max_objects=4)
    scenes = sample_scenes(np.random.default_rng(5), 30, settings=settings)
    move = np.zeros_like(scenes.mask)
    move[:, 1] = True
    again = place_again(np.random.default_rng(6), scenes, move, settings=settings)
    same = (again.position == scenes.position).all(axis=2)
    assert same[:, [0, 2, 3]].all() and not same[:, 1].any()


def test_no_room_is_said() -> None:
    with pytest.raises(PlacementError, match="fewer objects"):
        sample_scenes(np.random.default_rng(0), 2, settings=PlacementSettings(extent=0.5, min_objects=10))


@pytest.mark.parametrize("bad", [
    {"min_objects": 0}, {"min_objects": 5, "max_objects": 4}, {"extent": 0.0}, {"min_gap": -0.1}, {"margin": -1.0},
    {"camera_jitter": -1.0}, {"aim_jitter": -1.0}, {"lamp_jitter": float("nan")}, {"min_visible_pixels": -1.0},
    {"distance_factor": (0.0, 1.0)}, {"distance_factor": (2.0, 1.0)}, {"elevation_deg": (10.0, 95.0)},
    {"shapes": ()}, {"shapes": ("cube", "torus")}])
def test_settings_reject_bad_values(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        PlacementSettings(**bad)
