"""What of tools/render_objects.py needs no Blender: its camera, its light, and how a folder grows."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kyvo_ros.commands import object_scores
from kyvo_ros.data.images import read_rgb, write_rgb
from kyvo_ros.data.object_folders import ObjectFolderError, read_object_folder
from kyvo_ros.data.object_scenes import ObjectScene, ObjectSettings, objects_schema, sample_object_scene
from kyvo_ros.scene import PinholeCamera, PlaneCamera
from kyvo_ros.training.recipe import load_recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import render_objects  # noqa: E402
from render_objects import AreaLight, Look, blender_lens, blender_pose, render_folder  # noqa: E402

LENS = PinholeCamera(96, 60, 105.0, 105.0, 50.0, 28.0)
NOMINAL = PlaneCamera(11.0, 0.5)


def scenes(count: int, seed: int = 0) -> list[ObjectScene]:
    rng, settings = np.random.default_rng(seed), ObjectSettings(categories=("banana", "box"), max_objects=2)
    return [sample_object_scene(rng, LENS, NOMINAL, settings, "instances") for _ in range(count)]


class Copyist:
    """A studio that writes the rasteriser's picture."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def render(self, made: ObjectScene, lens: PinholeCamera, look: Look, seed: int, path: Path) -> None:
        assert len(look.roughness) == len(made.scene)
        self.seen.append(seed)
        write_rgb(path, made.image)


def test_blenders_camera_sees_what_the_pinhole_camera_sees() -> None:
    points = np.random.default_rng(0).uniform([-3, -3, 0], [3, 3, 2], (20, 3))
    settings = blender_lens(LENS)
    own = (np.linalg.inv(blender_pose(NOMINAL)) @ np.column_stack([points, np.ones(20)]).T).T
    assert (own[:, 2] < 0).all(), "Blender looks along -z"
    # Blender's manual: the sensor spans the picture's width, and a shift moves it by shares of that.
    across = settings["lens"] / settings["sensor_width"] * own[:, :2] / -own[:, 2:3]
    across -= (settings["shift_x"], settings["shift_y"])
    pixels = [0.5, 0.5] * np.array([LENS.width, LENS.height]) + across * [LENS.width, -LENS.width]
    assert pixels == pytest.approx(LENS.project(NOMINAL.plane_T_optical().inverse().apply(points)))
    with pytest.raises(ValueError, match="square pixels"):
        blender_lens(PinholeCamera(96, 60, 105.0, 100.0, 48.0, 28.0))


def test_looks_follow_their_seed_and_light_the_ground_from_above() -> None:
    looks = [Look.varied(np.random.default_rng(seed), 3) for seed in range(30)]
    assert looks[4] == Look.varied(np.random.default_rng(4), 3) and len(set(looks)) == len(looks)
    for look in looks:
        assert all(lamp.position[2] > 3 and lamp.watts >= 0 for lamp in look.lights) and len(look.roughness) == 3
        facing = look.sky + sum(lamp.brightness for lamp in look.lights)
        assert 0.5 < facing * 2**look.exposure < 2.0, "a white surface is neither dark nor lost"
        assert 0 < min(look.ground_rgb) <= max(look.ground_rgb) < 0.8


def test_a_lamp_twice_as_far_has_four_times_the_power() -> None:
    near, far = (AreaLight((0.0, 0.0, height), 2.0, 0.5, (1.0, 1.0, 1.0)) for height in (5.0, 10.0))
    assert far.watts == pytest.approx(4 * near.watts) and near.watts == pytest.approx(math.pi**2 * 25 * 0.5)


def test_a_folder_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first, second, third = Copyist(), Copyist(), Copyist()
    assert render_folder(first, iter(scenes(2)), LENS, tmp_path, 0, {"seed": 0}) == 2
    (tmp_path / "images" / "000000.png").unlink()
    assert render_folder(second, iter(scenes(3)), LENS, tmp_path, 0, {"seed": 0}) == 2
    assert render_folder(third, iter(scenes(3)), LENS, tmp_path, 0, {"seed": 0}) == 0
    assert (first.seen, second.seen, third.seen) == ([0, 1], [0, 2], [])
    assert json.loads((tmp_path / "scenes.json").read_text())["seed"] == 0
    for picture, made in zip(read_object_folder(tmp_path), scenes(3), strict=True):
        assert np.array_equal(read_rgb(picture.image_path), made.image) and picture.load().assets == made.assets
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "scenes.json"]


def test_a_picture_without_its_entry_is_made_again(tmp_path: Path) -> None:
    render_folder(Copyist(), iter(scenes(1)), LENS, tmp_path, 0, {})
    write_rgb(tmp_path / "images" / "000001.png", np.zeros((60, 96, 3), np.uint8))
    again = Copyist()
    assert render_folder(again, iter(scenes(2)), LENS, tmp_path, 0, {}) == 1 and again.seen == [1]
    assert len(read_object_folder(tmp_path)) == 2


def test_a_folder_of_other_scenes_is_left_alone(tmp_path: Path) -> None:
    render_folder(Copyist(), iter(scenes(1)), LENS, tmp_path, 0, {})
    before = (tmp_path / "scenes.json").read_bytes()
    with pytest.raises(ObjectFolderError, match="name another folder"):
        render_folder(Copyist(), iter(scenes(2, seed=1)), LENS, tmp_path, 1, {})
    assert (tmp_path / "scenes.json").read_bytes() == before


def test_centres_that_are_shown_elsewhere_are_noticed() -> None:
    class Askew:
        def mark(self, point: np.ndarray, camera: PlaneCamera, lens: PinholeCamera, folder: Path) -> np.ndarray:
            return lens.project(camera.plane_T_optical().inverse().apply(point)) + (0.25, -0.5)

    assert render_objects.largest_offset_px(Askew(), iter(scenes(1)), LENS) == pytest.approx(0.5)


def test_the_scenes_are_those_that_the_evaluation_draws() -> None:
    recipe = load_recipe(render_objects.REPOSITORY / "recipes" / "objects-nano.yaml")
    pipeline = SimpleNamespace(canonical=recipe.canonical, schema=objects_schema(recipe.objects))
    drawn, _, _ = object_scores._drawn(SimpleNamespace(seed=5, count=2), pipeline)
    for (scene, view), made in zip(drawn, render_objects.drawn_scenes(recipe, "instances", 5, 2), strict=True):
        assert np.array_equal(scene.image, made.image) and scene.assets == made.assets
        assert view.intrinsics == recipe.canonical.intrinsics()


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    for options, reason in ((["--count", "2"], "--out"), (["--check", "--size", "big"], "192x120"),
                            (["--check", "--samples", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            render_objects.main(options)
        assert reason in capsys.readouterr().err
