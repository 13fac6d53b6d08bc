"""Where training images come from: what is drawn, and which views of a render are kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kyvo_ros.autoencoders.canonical import CanonicalCamera
from kyvo_ros.data.clevr import ClevrSample, clevr_camera, clevr_object, in_plane_frame
from kyvo_ros.data.images import write_rgb
from kyvo_ros.data.placement import look_at
from kyvo_ros.scene import CameraView, PlaneCamera, Scene, Transform, view_from_pose
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.training.dense_head import word_values
from kyvo_ros.training.recipe import ExampleSettings, load_recipe
from kyvo_ros.training.sources import REACH_UNITS, ExampleMaker, load_examples, make_examples

CONES = Path(__file__).resolve().parents[2] / "recipes" / "cones" / "clevr-cones.yaml"
SMALL = CanonicalCamera(width=64, height=40, fx=70.0, fy=70.0, cx=32.0, cy=19.0)


@pytest.mark.parametrize(("distance", "all_kept"), [(11.0, True), (40.0, False)])
def test_views_whose_objects_leave_the_grid_are_left_out(tmp_path, distance: float, all_kept: bool) -> None:
    """A degree of a far and low camera moves the plane's origin by units."""
    settings = ExampleSettings(render_views=8, turn_deg=2.0)
    elevation = math.radians(15)
    eye = np.array([[distance * math.cos(elevation), 0.0, distance * math.sin(elevation)]])
    view = view_from_pose(clevr_camera(), Transform.from_matrix(look_at(eye, np.zeros((1, 3)))[0]))
    red = clevr_object({"size": "large", "color": "red", "material": "rubber", "shape": "sphere"}, [3.0, 0.5, 0.7], 0.0)
    write_rgb(tmp_path / "far.png", np.full((240, 320, 3), 90, np.uint8))
    sample = ClevrSample(tmp_path / "far.png", in_plane_frame([red], view), view, 0)
    found = ExampleMaker(SMALL, CLEVR_SCHEMA, settings).turned(sample)
    assert (len(found) == settings.render_views) == all_kept and len(found) > 0
    for i in range(len(found)):
        places = found.scene(i, word_values(CLEVR_SCHEMA)).positions_m()[:, :2]
        assert np.abs(places).max() <= REACH_UNITS


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_the_views_is_through_other_lenses(tmp_path, share: float) -> None:
    view = CameraView(clevr_camera(), PlaneCamera(11.0, 0.5), 0.0, Transform.identity())
    write_rgb(tmp_path / "plane.png", np.full((240, 320, 3), 90, np.uint8))
    settings = ExampleSettings(render_views=60, other_lenses=share, lens_factor=(0.9, 1.3))
    lenses = ExampleMaker(SMALL, CLEVR_SCHEMA, settings).turned(
        ClevrSample(tmp_path / "plane.png", Scene(), view, 0)).camera[:, 2]
    other = lenses[lenses != 1.0]
    assert share == len(other) / 60 if share in (0.0, 1.0) else 15 < len(other) < 45
    assert not len(other) or 0.9 <= other.min() < 0.95 and 1.25 < other.max() <= 1.3


def test_longer_lenses_look_about_in_the_ordinary_view_but_not_down(tmp_path) -> None:
    """A lens twice as long finds objects at the ordinary view's border, and never shows what that does not."""
    view = CameraView(clevr_camera(), PlaneCamera(11.0, 0.5), 0.0, Transform.identity())
    write_rgb(tmp_path / "plane.png", np.full((240, 320, 3), 90, np.uint8))
    settings = ExampleSettings(render_views=80, turn_deg=0.0, other_lenses=1.0, lens_factor=(2.0, 2.0))
    red = clevr_object({"size": "small", "color": "red", "material": "rubber", "shape": "sphere"}, [3.5, 0.5, 0.35], 0.0)
    found = ExampleMaker(SMALL, CLEVR_SCHEMA, settings).turned(ClevrSample(
        tmp_path / "plane.png", in_plane_frame([red], view), view, 0))
    elevation = found.camera[:, 1]
    lowest = 0.5 - (math.atan(40 / 2 / 70) - math.atan(40 / 2 / 140))
    assert lowest - 0.01 < elevation.min() < lowest + 0.02 and 0.48 < elevation.max() <= 0.5 + 1e-6
    assert 0 < found.count.sum() < len(found), "beside the axis, so that only views that turn there show it"


@pytest.mark.parametrize("wrong", [{"other_lenses": 1.5}, {"lens_factor": (1.2, 0.9)}, {"lens_factor": (0.0, 1.0)}])
def test_lenses_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ExampleSettings(**wrong)


def test_a_schema_with_cones_gets_cones() -> None:
    schema = replace(load_recipe(CONES).schema, max_objects=4)
    maker = ExampleMaker(SMALL, schema, ExampleSettings(synthetic=30, other_cameras=0.0))
    examples, words = maker.synthetic(0), word_values(schema)
    items = [item for i in range(len(examples)) for item in examples.scene(i, words).objects]
    assert {item.attributes["shape"] for item in items} == {"cube", "sphere", "cylinder", "cone"}
    cones = [item for item in items if item.attributes["shape"] == "cone"]
    assert all(item.yaw_rad is None for item in cones)
    assert {round(float(item.position_m[2]), 2) for item in cones} <= {0.35, 0.7}


@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_few_backgrounds_or_none(count: int) -> None:
    examples = ExampleMaker(SMALL, CLEVR_SCHEMA, ExampleSettings(backgrounds=count)).backgrounds()
    assert len(examples) == count and not examples.count.any()


def test_renders_that_the_language_cannot_say_are_left_out_and_named(tmp_path: Path, caplog) -> None:
    words = {"size": "large", "color": "red", "material": "rubber", "shape": "sphere"}
    view = CameraView(clevr_camera(), PlaneCamera(11.0, 0.5), 0.0, Transform.identity())
    def sample(name: str, *places: float) -> ClevrSample:
        objects = [clevr_object(words, [x, 0.0, 0.7], 0.0) for x in places]
        return ClevrSample(tmp_path / name, Scene(objects), view, 0)
    maker = ExampleMaker(SMALL, replace(CLEVR_SCHEMA, max_objects=2), ExampleSettings())
    good = sample("good.png", 0.0, 2.0)
    assert maker.usable([good]) == [good] and not caplog.records
    assert maker.usable([sample("far.png", 5.6), good, sample("many.png", 0.0, 1.0, 2.0)]) == [good]
    assert "2 of 3 renders are left out, such as" in caplog.text and "far.png" in caplog.text


@pytest.mark.parametrize("zoom_step", [1.2, 1.0])
def test_other_cameras_have_the_lens_for_their_distance(zoom_step: float) -> None:
    canonical = replace(SMALL, zoom_step=zoom_step)
    settings = ExampleSettings(synthetic=24, other_cameras=1.0, distance_factor=(0.7, 1.6))
    examples = ExampleMaker(canonical, replace(CLEVR_SCHEMA, max_objects=2), settings).synthetic(0)
    factor, zoom = examples.camera[:, 0] / canonical.nominal_distance, examples.camera[:, 2]
    assert len(examples) == 24 and factor.min() < 0.85 and factor.max() > 1.3
    if zoom_step == 1.0:
        assert (zoom == 1.0).all()
    else:
        assert len(np.unique(zoom)) == 6 and (np.abs(np.log(factor / zoom)) < 0.2).all()


def test_objects_stand_in_the_image_where_the_truth_says() -> None:
    """Also through the lens for a far camera: the pixel at a centre differs from the empty ground."""
    settings = ExampleSettings(synthetic=20, other_cameras=1.0, distance_factor=(1.5, 1.6))
    examples = ExampleMaker(SMALL, replace(CLEVR_SCHEMA, max_objects=1), settings).synthetic(0)
    u, v, _ = examples.projected((SMALL.fx, SMALL.fy), (SMALL.cx, SMALL.cy))[:, 0].T
    inside = (u > 2) & (u < SMALL.width - 2) & (v > 2) & (v < SMALL.height - 2)
    at = examples.images[np.arange(20), v.clip(0, SMALL.height - 1).astype(int), u.clip(0, SMALL.width - 1).astype(int)]
    elsewhere = examples.images[np.arange(20), :, ::-1][np.arange(20), v.clip(0, SMALL.height - 1).astype(int),
                                                       u.clip(0, SMALL.width - 1).astype(int)]
    apart = np.abs(at.astype(int) - elsewhere).max(axis=1)
    assert inside.sum() > 10 and np.median(apart[inside & (np.abs(u - SMALL.cx) > 6)]) > 30


def test_loose_scenes_follow_no_rule_of_clevr(monkeypatch) -> None:
    drawn = []
    real = ExampleMaker._ray_cast
    monkeypatch.setattr(ExampleMaker, "_ray_cast", lambda self, *args: (drawn.append(args), real(self, *args))[1])
    schema, settings = replace(CLEVR_SCHEMA, max_objects=4), ExampleSettings(synthetic=40, other_cameras=0.5, loose=0.5)
    examples = ExampleMaker(SMALL, schema, settings).synthetic(0)
    assert len(examples) == 40
    shares = {placement.margin == 0.0: 0 for _, _, placement, _ in drawn}
    for _, count, placement, _ in drawn:
        assert (placement.margin == 0.0) == (placement.lamp_turn_rad > 3) == (placement.aim_jitter == 1.5)
        shares[placement.margin == 0.0] += count
    assert sum(shares.values()) == 40 and abs(shares[True] - 20) <= 3  # every camera's share is rounded
    scenes = [examples.scene(i, word_values(schema)) for i in range(40)]
    assert max(np.abs(scene.positions_m()[:, :2]).max() for scene in scenes) <= REACH_UNITS
    apart = [np.diff(np.sort(scene.positions_m()[:, 0])).min() for scene in scenes if len(scene) > 1]
    assert min(apart) < 0.2, "one stands behind another"


def test_without_views_only_the_renders_that_are_held_out_are_read(tmp_path, monkeypatch) -> None:
    """As `recipes/ablations/synthetic-only.yaml` trains: on no render, measured on those held out."""
    view = view_from_pose(clevr_camera(), Transform.from_matrix(look_at(np.array([[7.0, -6.0, 5.0]]), np.zeros((1, 3)))[0]))
    red = clevr_object({"size": "large", "color": "red", "material": "rubber", "shape": "sphere"}, [1.0, 0.5, 0.7], 0.0)
    for name in ("2.png", "3.png"):  # the images before them are not even there
        write_rgb(tmp_path / name, np.full((240, 320, 3), 90, np.uint8))
    samples = [ClevrSample(tmp_path / f"{i}.png", in_plane_frame([red], view), view, i) for i in range(4)]
    monkeypatch.setattr("kyvo_ros.training.sources.read_clevr", lambda path, split, schema: samples)
    maker = ExampleMaker(SMALL, CLEVR_SCHEMA, ExampleSettings(synthetic=0, backgrounds=5, render_views=0, held_out=2))
    make_examples(maker, tmp_path / "examples", [tmp_path], workers=1)
    synthetic, renders, held_out = load_examples(tmp_path / "examples")
    assert len(synthetic) == 5 and renders is None and len(held_out) == 2
    assert (held_out.count == 1).all()
