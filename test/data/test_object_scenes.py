"""Scenes of the library's objects: what is placed, what is drawn, and what its picture shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.data.object_scenes import (
    ObjectSceneError, ObjectSettings, category_word, objects_schema, place_asset, sample_object_scene)
from kyvo_ros.data.rasterizer import ObjectLook, draw_scene
from kyvo_ros.scene import PinholeCamera, PlaneCamera
from kyvo_ros.scene.mesh import Mesh

LENS = PinholeCamera(96, 60, 105.0, 105.0, 48.0, 28.0)
NOMINAL = PlaneCamera(11.0, 0.5)
SMALL = ObjectSettings(categories=("banana", "box", "ring"), max_objects=3)


def square(z: float, side: float, x: float = 0.0, rgb: tuple[int, int, int] = (255, 0, 0)) -> Mesh:
    """A flat square at a height, seen from above."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * side / 2
    vertices = np.column_stack([corners[:, 0] + x, corners[:, 1], np.full(4, z)])
    return Mesh(vertices, [[0, 1, 2], [0, 2, 3]], np.tile(rgb, (4, 1)))


def test_a_square_covers_the_pixels_between_its_corners() -> None:
    flat = ObjectLook(shadow=0.0, unevenness=0.0, ambient=1.0)
    mesh = square(0.0, 2.0)
    image, visible = draw_scene([mesh], NOMINAL, LENS, flat)
    corners = LENS.project(NOMINAL.plane_T_optical().inverse().apply(mesh.vertices))
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert visible == pytest.approx([area], rel=0.02)
    middle = LENS.project(NOMINAL.plane_T_optical().inverse().apply(np.zeros(3))).astype(int)
    assert image[middle[1], middle[0]].tolist() == [255, 0, 0]
    assert image[0, 0].tolist() == np.round(255 * np.array(flat.ground_rgb)).tolist()


def test_what_is_nearer_hides_what_is_behind_and_backs_are_not_drawn() -> None:
    below, above = square(0.0, 1.0), square(0.5, 3.0, rgb=(0, 255, 0))
    _, visible = draw_scene([below, above], NOMINAL, LENS)
    assert visible[0] == 0 and visible[1] > 0
    back = replace(above, faces=above.faces[:, ::-1])
    assert draw_scene([back], NOMINAL, LENS)[1][0] == 0


def test_shadows_fall_away_from_the_light() -> None:
    look = ObjectLook(light=(1.0, 0.0, 1.0), shadow=0.9, softness=0.0, unevenness=0.0)
    image, _ = draw_scene([square(1.0, 1.0)], NOMINAL, LENS, look)
    bare = draw_scene([], NOMINAL, LENS, look)[0]
    # Under the square, pushed to the left.
    spot = LENS.project(NOMINAL.plane_T_optical().inverse().apply([-1.0, 0.0, 0.0])).astype(int)
    other = LENS.project(NOMINAL.plane_T_optical().inverse().apply([1.5, 0.0, 0.0])).astype(int)
    assert image[spot[1], spot[0]].max() < 0.3 * bare[spot[1], spot[0]].min()
    assert np.array_equal(image[other[1], other[0]], bare[other[1], other[0]])


def test_triangles_behind_the_camera_or_without_area_are_left_out() -> None:
    behind, flat = square(0.0, 1.0, x=0.0), square(0.0, 0.0)
    behind = behind.with_vertices(behind.vertices + (0, -40.0, 0))
    assert draw_scene([behind, flat], NOMINAL, LENS)[1].tolist() == [0, 0]


def test_an_asset_stands_on_the_ground_and_is_as_large_as_it_says() -> None:
    item = place_asset("banana", 3, 1.0, -0.5, 0.7, 1.5)
    low, high = item.mesh.bounds
    assert high - low == pytest.approx(item.size_m) and max(item.size_m) == pytest.approx(1.5)
    assert low + high == pytest.approx(np.zeros(3), abs=1e-9)
    assert item.placed_mesh().bounds[0][2] == pytest.approx(0.0, abs=1e-9)
    assert item.position_m[:2] == pytest.approx([1.0, -0.5])


def test_scenes_obey_their_rules_and_their_seed() -> None:
    for seed in range(4):
        made = sample_object_scene(np.random.default_rng(seed), LENS, NOMINAL, SMALL)
        assert 2 <= len(made.scene) <= 3 and len(made.assets) == len(made.scene)
        for item, (name, index) in zip(made.scene.objects, made.assets):
            assert item.attributes == {"category": category_word(name)} and 1.2 <= max(item.size_m) <= 2.2
            assert index % 10 != 9, "held out of training"
        _, visible = draw_scene([item.placed_mesh() for item in made.scene.objects], made.camera, LENS)
        assert (visible >= 250 * 96 * 60 / (320 * 240)).all()
        gap = made.scene.positions_m()[:, None, :2] - made.scene.positions_m()[None, :, :2]
        radii = np.array([np.hypot(*item.size_m[:2]) / 2 for item in made.scene.objects])
        apart = np.hypot(*gap.transpose(2, 0, 1)) - radii[:, None] - radii[None]
        assert (apart[~np.eye(len(radii), dtype=bool)] >= 0.1 - 1e-9).all()
    again = sample_object_scene(np.random.default_rng(3), LENS, NOMINAL, SMALL)
    assert np.array_equal(again.image, made.image)
    kept = sample_object_scene(np.random.default_rng(0), LENS, NOMINAL, replace(SMALL, instances=2), "instances")
    assert all(index in (9, 19) for _, index in kept.assets)


def test_rules_that_leave_no_room_are_named() -> None:
    with pytest.raises(ObjectSceneError, match="ask for fewer objects"):
        sample_object_scene(np.random.default_rng(0), LENS, NOMINAL, replace(SMALL, min_visible_pixels=1e6,
                                                                             min_objects=1, max_objects=1))
    for change, reason in (({"categories": ("teapot",)}, "teapot"), ({"min_objects": 7}, "min_objects"),
                           ({"longest_side": (2, 1)}, "longest_side"), ({"extent": -1}, "negative")):
        with pytest.raises(ValueError, match=reason):
            replace(ObjectSettings(), **change)


def test_the_schema_says_all_that_a_scene_holds() -> None:
    schema = objects_schema(SMALL, length=8)
    assert schema.words[0].values == ("banana", "box", "ring") and schema.max_objects == 3 and schema.shape.length == 8
    assert schema.yaw.span_rad == pytest.approx((-math.pi, math.pi)) and schema.dimensions is not None
    assert category_word("table_tennis_bat") == "tabletennisbat"
