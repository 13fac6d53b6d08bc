"""Objects refined by depth: nearer to the truth than what was predicted, never far from it, never more of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from kyvo_ros.depth import RefineConfig, RefinedScene, points_from_depth, refine
from kyvo_ros.depth.solids import SOLIDS
from kyvo_ros.evaluation.depth_scenes import DepthScene, DepthSettings, cast_depth, depth_scene
from kyvo_ros.scene import CameraView, PinholeCamera, PlaneCamera, PlaneNotVisibleError, Scene, SceneError, SceneObject
from kyvo_ros.scene.records import scene_from_dict, scene_to_dict

SMALL = DepthSettings(width=160, height=120)
VIEW = CameraView(PinholeCamera(160, 120, 176.0, 176.0, 80.0, 60.0), PlaneCamera(1.1, 0.55))


def refined(made: DepthScene, **values) -> RefinedScene:
    points = points_from_depth(made.depth_m, made.view.intrinsics)
    return refine(made.predicted, made.view, points, RefineConfig(**values))


@pytest.fixture(scope="module")
def outcomes() -> list[tuple[DepthScene, RefinedScene]]:
    """Scenes of a table-top with a sensor's faults, and what depth makes of their predictions."""
    return [(made, refined(made)) for made in (depth_scene(seed, SMALL) for seed in range(8))]


def errors(outcomes: list[tuple[DepthScene, RefinedScene]], of) -> tuple[np.ndarray, np.ndarray]:
    """Before and after, of the objects that were refined."""
    pairs = [(of(before, true), of(after, true)) for made, outcome in outcomes for before, after, true, note in zip(
        made.predicted.objects, outcome.scene.objects, made.truth.objects, outcome.refinements) if note.points]
    return tuple(np.array(pairs).T)


def apart(item: SceneObject, true: SceneObject) -> float:
    return float(np.linalg.norm(item.position_m - true.position_m))


def test_positions_become_several_times_better(outcomes) -> None:
    before, after = errors(outcomes, apart)
    assert len(after) >= 36, "of 40 objects"
    assert before.mean() > 0.015 and after.mean() < before.mean() / 4
    assert np.median(after) < 0.003 and (after > before).mean() < 0.15


def test_sizes_and_yaws_become_better(outcomes) -> None:
    before, after = errors(outcomes, lambda item, true: float(np.abs(item.size_m / true.size_m - 1).max()))
    assert after.mean() < before.mean() and np.median(after) < np.median(before) / 2
    cubes = [(made, replace_scene(outcome)) for made, outcome in outcomes]
    before, after = errors(cubes, lambda item, true: 0.0 if true.yaw_rad is None else abs(item.yaw_rad - true.yaw_rad))
    assert after.sum() < before.sum()


def replace_scene(outcome: RefinedScene) -> RefinedScene:
    """Only what has a yaw counts as refined."""
    notes = [note if item.yaw_rad is not None else replace(note, points=0)
             for note, item in zip(outcome.refinements, outcome.scene.objects)]
    return RefinedScene(outcome.scene, tuple(notes))


def test_the_covariance_says_how_far_off_it_is(outcomes) -> None:
    squared = [delta @ np.linalg.solve(after.position_covariance_m2[:2, :2], delta) / 2
               for made, outcome in outcomes for after, true in zip(outcome.scene.objects, made.truth.objects)
               if after.depth_points for delta in [(after.position_m - true.position_m)[:2]]]
    assert 0.05 < np.median(squared) < 1.5, "a half for normal errors in two dimensions is 0.7"
    assert np.mean(np.array(squared) < 4.6) > 0.85
    shrunk = [np.trace(after.position_covariance_m2) / np.trace(before.position_covariance_m2)
              for made, outcome in outcomes for before, after in zip(made.predicted.objects, outcome.scene.objects)
              if after.depth_points]
    assert max(shrunk) < 1.0


def test_every_object_says_whether_and_why_not(outcomes) -> None:
    for made, outcome in outcomes:
        for before, after, note in zip(made.predicted.objects, outcome.scene.objects, outcome.refinements):
            assert after.depth_points == note.points and bool(note.points) != bool(note.why_not)
            if note.points:
                assert note.points >= 25 and note.moved_m == pytest.approx(apart(after, before))
            else:
                assert after is before


def test_objects_are_neither_added_nor_dropped_and_nothing_else_changes(outcomes) -> None:
    for made, outcome in outcomes:
        assert len(outcome.scene) == len(made.predicted) and outcome.refined == sum(
            bool(o.depth_points) for o in outcome.scene.objects)
        for before, after in zip(made.predicted.objects, outcome.scene.objects):
            assert (dict(after.attributes), after.confidence, after.id) == (
                dict(before.attributes), before.confidence, before.id)
            assert apart(after, before) < 1.3 * before.size_m.max()


def seen(*objects: SceneObject) -> np.ndarray:
    """Points of VIEW over these objects, without faults."""
    return points_from_depth(cast_depth(VIEW, objects), VIEW.intrinsics)


def thing(shape: str, x: float = 0.02, y: float = 0.01, size=(0.1, 0.1, 0.1), yaw: float | None = None) -> SceneObject:
    return SceneObject({"shape": shape}, [x, y, size[2] / 2], yaw, list(size))


@pytest.mark.parametrize("true, limit_m", [
    (thing("sphere"), 0.002), (thing("cylinder", size=(0.08, 0.08, 0.12)), 0.004), (thing("cube", yaw=0.4), 0.003)])
def test_a_known_solid_is_found_with_its_size(true: SceneObject, limit_m: float) -> None:
    guess = replace(true, position_m=true.position_m + [0.02, -0.03, 0.01], size_m=1.2 * true.size_m,
                    yaw_rad=None if true.yaw_rad is None else true.yaw_rad - 0.15)
    found = refine(Scene((guess,)), VIEW, seen(true)).scene.objects[0]
    assert apart(found, true) < limit_m and np.allclose(found.size_m, true.size_m, rtol=0.06)
    assert true.yaw_rad is None or found.yaw_rad == pytest.approx(true.yaw_rad, abs=0.03)


@pytest.mark.parametrize("shape", ["mug", "cube"])
def test_any_other_shape_is_placed_by_its_front_and_its_width(shape: str) -> None:
    true = thing(shape, size=(0.12, 0.08, 0.1), yaw=0.0)  # a word for a cube with other extents is no cube
    guess = replace(true, position_m=true.position_m + [0.015, 0.03, -0.01], size_m=[0.11, 0.08, 0.08])
    outcome = refine(Scene((guess,)), VIEW, seen(true))
    found = outcome.scene.objects[0]
    assert outcome.refined == 1 and apart(found, true) < 0.01 < apart(guess, true) / 3
    assert found.size_m[0] == pytest.approx(0.12, rel=0.08) and found.size_m[2] == pytest.approx(0.1, rel=0.08)


def test_the_side_that_faces_away_is_not_mistaken_for_the_front() -> None:
    true = thing("sphere", size=(0.07,) * 3)
    guess = replace(true, position_m=true.position_m - [0.0, 0.06, 0.0])  # the points lie on its back
    found = refine(Scene((guess,)), VIEW, seen(true)).scene.objects[0]
    assert apart(found, true) < 0.003


@pytest.mark.parametrize("guess, words", [
    (thing("sphere", x=0.3), "0 depth points show it, 25 are needed"),
    (thing("sphere", size=(0.22,) * 3), "times as large"),
    (SceneObject({"shape": "sphere"}, [0.02, 0.01, 0.05]), "its size is not known"),
    (thing("mug", size=(0.3, 0.3, 0.1)), "of its 0.306 m are seen"),
])
def test_what_depth_does_not_support_stays_and_says_why(guess: SceneObject, words: str) -> None:
    outcome = refine(Scene((guess,)), VIEW, seen(thing("sphere")))
    assert outcome.scene.objects[0] is guess and outcome.refined == 0
    assert words in outcome.refinements[0].why_not


def test_an_object_is_not_moved_beyond_the_gate() -> None:
    true = thing("sphere")
    guess = replace(true, position_m=true.position_m + [0.06, 0.0, 0.0])
    assert apart(refine(Scene((guess,)), VIEW, seen(true)).scene.objects[0], true) < 0.003
    outcome = refine(Scene((guess,)), VIEW, seen(true), RefineConfig(max_move=0.5))
    assert outcome.scene.objects[0] is guess and "depth has it 0.0" in outcome.refinements[0].why_not


def test_a_surface_of_another_kind_is_not_believed() -> None:
    rng = np.random.default_rng(0)
    bush = VIEW.plane_T_optical().inverse().apply(rng.uniform([-0.06, -0.06, 0.0], [0.1, 0.08, 0.12], (2000, 3)))
    outcome = refine(Scene((thing("sphere"),)), VIEW, bush)
    assert outcome.refined == 0 and "m off the surface of a sphere" in outcome.refinements[0].why_not


@pytest.mark.parametrize("nearer_m, words", [(0.0, ""), (0.05, "lie on the far side of a sphere")])
def test_stray_points_in_front_mislead_nobody(nearer_m: float, words: str) -> None:
    true = thing("sphere", size=(0.07,) * 3)
    stray = np.random.default_rng(0).uniform([-0.01, -0.08, 0.02], [0.05, -0.06, 0.05], (10, 3))
    points = np.vstack([seen(true), VIEW.plane_T_optical().inverse().apply(stray)])
    guess = replace(true, position_m=true.position_m - [0.0, nearer_m, 0.0])
    outcome = refine(Scene((guess,)), VIEW, points)
    assert words in outcome.refinements[0].why_not and outcome.refined == (not words)
    assert words or apart(outcome.scene.objects[0], true) < 0.001


@pytest.mark.parametrize("values, refined_then", [
    ({}, True), ({"min_points": 10**4, "max_points": 10**4}, False), ({"noise": 0.05}, False),
    ({"least_noise_m": 0.05}, False), ({"max_rms": 0.001}, False), ({"min_on_surface": 1.0}, False)])
def test_every_gate_decides(values: dict, refined_then: bool) -> None:
    true = thing("cylinder")
    points = np.vstack([seen(true), VIEW.plane_T_optical().inverse().apply(np.tile([[0.02, 0.01, 0.14]], (20, 1)))])
    guess = replace(true, position_m=true.position_m + [0.01, 0.02, 0.0])
    assert (refine(Scene((guess,)), VIEW, points, RefineConfig(**values)).refined == 1) == refined_then


def test_every_option_changes_what_comes_out() -> None:
    true = thing("cylinder")
    guess = replace(true, position_m=true.position_m + [0.01, 0.02, 0.0], size_m=1.1 * true.size_m)

    def found(**values) -> SceneObject:
        return refine(Scene((guess,)), VIEW, seen(true), RefineConfig(**values)).scene.objects[0]
    plain = found()
    assert np.trace(found(bias=0.05).position_covariance_m2) > 10 * np.trace(plain.position_covariance_m2)
    assert np.allclose(found(size_sigma=0.001).size_m, guess.size_m, rtol=0.01)
    assert np.allclose(plain.size_m, true.size_m, rtol=0.03)
    few, other = found(max_points=40), found(shape_attribute="kind")
    assert 0 < apart(few, plain) < 0.003 and few.depth_points == pytest.approx(plain.depth_points, rel=0.15)
    assert 0 < apart(other, plain) < 0.02, "as an object of unknown shape"


def test_neighbours_keep_their_own_points() -> None:
    pair = (thing("cylinder", x=-0.06, size=(0.08, 0.08, 0.08)), thing("sphere", x=0.03, size=(0.07,) * 3))
    guesses = tuple(replace(o, position_m=o.position_m + [0.0, 0.03, 0.0]) for o in pair)
    found = refine(Scene(guesses), VIEW, seen(*pair)).scene.objects
    assert all(apart(a, b) < 0.005 for a, b in zip(found, pair))


def test_no_depth_at_all_changes_nothing() -> None:
    scene = Scene((thing("sphere"),))
    assert refine(scene, VIEW, np.zeros((0, 3))).scene.objects == scene.objects
    assert len(refine(Scene(), VIEW, seen()).scene) == 0


def test_what_cannot_be_refined_at_all_raises() -> None:
    with pytest.raises(SceneError, match="got one in map"):
        refine(Scene((), "map"), VIEW, np.zeros((0, 3)))
    with pytest.raises(PlaneNotVisibleError):
        refine(Scene((thing("sphere"),)), CameraView(VIEW.intrinsics), np.zeros((0, 3)))


def test_the_number_of_points_survives_a_record() -> None:
    scene = Scene((replace(thing("sphere"), depth_points=77), thing("cube", x=0.2)))
    records = scene_to_dict(scene)
    assert [o.depth_points for o in scene_from_dict(records).objects] == [77, 0]
    assert "depth_points" not in records["objects"][1]


@pytest.mark.parametrize("shape", sorted(SOLIDS))
def test_points_on_a_solid_are_at_distance_zero_and_size_survives(shape: str) -> None:
    """Against the ray caster, which shares no code with the solids."""
    true = thing(shape, size=(0.1,) * 3, yaw=0.3 if shape == "cube" else None)
    placed = VIEW.plane_T_optical().apply(seen(true))
    over = placed[placed[:, 2] > 1e-6]
    solid, numbers = SOLIDS[shape], SOLIDS[shape].numbers(true)
    assert len(over) > 100 and np.abs(solid.distances_m(numbers, over)).max() < 1e-6
    assert np.allclose(solid.size_m(numbers), true.size_m) and np.allclose(solid.centre @ numbers, true.position_m)
    outside = over + 0.02 * (over - true.position_m) / np.linalg.norm(over - true.position_m, axis=-1)[:, None]
    assert (solid.distances_m(numbers, outside) > 0).all()


@pytest.mark.parametrize("values, words", [
    ({"noise": 0.0}, "noise must be positive, got 0"), ({"max_growth": 1.0}, "max_growth more than 1"),
    ({"min_points": 2}, "from 3 to max_points, got 2 and 400"), ({"max_move": math.inf}, "max_move")])
def test_settings_that_cannot_be_meant_are_refused(values: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RefineConfig(**values)
