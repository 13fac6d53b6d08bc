"""Edits: what each does, why it may be refused, and generated instructions that keep the rules."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from question_language import FOUR_THINGS, parse, thing
from test_generator import random_scene

from kyvo_ros.questions.answers import PremiseError
from kyvo_ros.questions.edit_generator import OPERATIONS, EditGenerator, EditSettings
from kyvo_ros.questions.edits import EditRules, apply_edit
from kyvo_ros.questions.linear import EDIT, program_of, symbols_of
from kyvo_ros.questions.program import ProgramError
from kyvo_ros.questions.sampling import SamplingError
from kyvo_ros.scene import Scene, SceneError
from kyvo_ros.tokens import CLEVR_SCHEMA

BALL, CUBE = "unique(filter_shape(sphere, filter_color(red, scene)))", "unique(filter_shape(cube, scene))"
GRAY = "unique(filter_color(gray, scene))"
RULES = EditRules(CLEVR_SCHEMA.extents_m, lambda x, y: max(abs(x), abs(y)) <= 4.0)
HALF_CUBE = 0.7 / math.sqrt(2)


def edited(program: str, rules: EditRules = RULES) -> Scene:
    return apply_edit(parse(program), FOUR_THINGS, rules)


def test_a_changed_color_leaves_all_else() -> None:
    scene = edited(f"change_color(green, {BALL})")
    assert scene.objects[0].label == "small green metal sphere" and scene.objects[0].id == "a"
    assert scene.objects[0].position_m == pytest.approx((-2.0, 0.0, 0.35))
    assert scene.objects[1:] == FOUR_THINGS.objects[1:]


def test_a_changed_class_changes_extents_height_and_yaw() -> None:
    grown = edited(f"change_size(large, {BALL})").objects[0]
    assert grown.position_m[2] == pytest.approx(0.7) and grown.size_m == pytest.approx((1.4,) * 3)
    cube = edited(f"change_shape(cube, {BALL})").objects[0]
    assert cube.yaw_rad == 0.0 and cube.position_m[2] == pytest.approx(HALF_CUBE / 2)
    assert edited(f"change_shape(sphere, {CUBE})").objects[1].yaw_rad is None


def test_a_measured_size_outlives_a_coat_of_paint_and_a_shape_only_itself() -> None:
    codes = np.arange(3)
    known = replace(FOUR_THINGS.objects[0], size_m=(0.6, 0.6, 0.6), position_m=(-2.0, 0.0, 0.3), shape_codes=codes)
    scene = Scene((known, *FOUR_THINGS.objects[1:]))
    painted = apply_edit(parse(f"change_color(green, {BALL})"), scene, RULES).objects[0]
    assert painted.size_m == pytest.approx((0.6,) * 3) and painted.position_m[2] == pytest.approx(0.3)
    assert painted.shape_codes is not None
    cube = apply_edit(parse(f"change_shape(cube, {BALL})"), scene, RULES).objects[0]
    assert cube.shape_codes is None and cube.mesh is None and cube.size_m[2] == pytest.approx(HALF_CUBE)


def test_a_removed_object_is_gone() -> None:
    assert [o.id for o in edited(f"remove({BALL})").objects] == ["b", "c", "d"]


@pytest.mark.parametrize(("relation", "place"), [
    ("left", (-2.5, 0.0)), ("right", (-1.5, 0.0)), ("front", (-2.0, -0.5)), ("behind", (-2.0, 0.5))])
def test_moves_by_a_distance(relation: str, place: tuple[float, float]) -> None:
    moved = edited(f"move_by({relation}, 0.5, {BALL})").objects[0]
    assert moved.position_m == pytest.approx((*place, 0.35))


def test_directly_next_to_leaves_the_least_gap() -> None:
    moved = edited(f"move_next(left, {BALL}, {GRAY})").objects[0]
    assert moved.position_m == pytest.approx((2.0 - 0.7 - 0.35 - 0.25, -2.0, 0.35))
    new = edited(f"insert_next(large, cyan, metal, cube, behind, {GRAY})").objects[-1]
    assert new.position_m == pytest.approx((2.0, -2.0 + 0.7 + 0.7 + 0.25, HALF_CUBE))  # a cube's circle has radius 0.7


def test_an_inserted_object_is_new_and_last() -> None:
    scene = edited(f"insert_at(small, cyan, metal, cube, front, 1.5, {CUBE})")
    new = scene.objects[-1]
    assert len(scene) == 5 and new.label == "small cyan metal cube" and (new.id, new.yaw_rad) == ("", 0.0)
    assert new.position_m == pytest.approx((0.0, -1.5, HALF_CUBE / 2))


@pytest.mark.parametrize(("program", "kind", "message"), [
    (f"change_color(red, {BALL})", "already", "is red already"),
    ("remove(unique(filter_color(red, scene)))", "several", "2 red objects"),
    ("remove(unique(filter_color(cyan, scene)))", "none", "no cyan object"),
    (f"move_by(left, 2.05, {BALL})", "outside", "outside of the area, at x -4.05 m"),
    (f"move_by(right, 1.0, {BALL})", "blocked", "large red rubber cube is in the way of the small red metal sphere"),
    (f"move_next(left, {BALL}, {BALL})", "blocked", "next to itself"),
    (f"insert_at(large, cyan, metal, cube, left, 0.5, {CUBE})", "blocked", "in the way"),
])
def test_what_cannot_be_done_is_explained(program: str, kind: str, message: str) -> None:
    with pytest.raises(PremiseError, match=message) as error:
        edited(program)
    assert error.value.kind == kind


def test_a_full_scene_takes_no_more() -> None:
    with pytest.raises(PremiseError, match="at most 4 may be"):
        edited(f"insert_next(small, cyan, metal, cube, left, {BALL})", replace(RULES, max_objects=4))


def test_the_margin_keeps_relations_clear() -> None:
    rules = EditRules(CLEVR_SCHEMA.extents_m, margin_m=0.4)
    with pytest.raises(PremiseError, match="gray rubber sphere is in the way"):
        edited(f"move_by(front, 2.3, {BALL})", rules)  # 0.3 behind the line of the gray ball
    assert edited(f"move_by(front, 2.3, {BALL})").objects[0].position_m[1] == pytest.approx(-2.3)
    assert len(edited(f"insert_next(small, cyan, metal, sphere, front, {GRAY})", rules)) == 5  # beside it on purpose


def test_no_edit_and_other_frames_are_named() -> None:
    with pytest.raises(ProgramError, match="expected an edit, got count"):
        edited("count(scene)")
    with pytest.raises(SceneError, match="got map"):
        apply_edit(parse(f"remove({BALL})"), Scene(FOUR_THINGS.objects, "map"), RULES)
    with pytest.raises(ValueError, match="gap and margin"):
        EditRules(CLEVR_SCHEMA.extents_m, min_gap_m=-1.0)


def apart(scene: Scene) -> list[float]:
    """What is left between the bounding circles of every two objects."""
    objects = scene.objects
    return [float(np.hypot(*(a.position_m - b.position_m)[:2])) - RULES.radius_m(a) - RULES.radius_m(b)
            for i, a in enumerate(objects) for b in objects[:i]]


def apart_scene(rng: random.Random) -> Scene:
    while True:
        scene = random_scene(rng, rng.randint(3, 5))
        if min(apart(scene)) >= 0.25:
            return scene


def test_generated_edits_keep_the_rules_and_every_kind_comes() -> None:
    rng, generator = random.Random(0), EditGenerator(0, RULES)
    edits = [edit for _ in range(20) for edit in generator.edits(apart_scene(rng), 8)]
    for edit in edits:
        assert apply_edit(edit.program, edit.source, RULES).objects[-1].label == edit.target.objects[-1].label
        assert program_of(symbols_of(edit.program), EDIT) == edit.program
        assert len(edit.target) < 2 or min(apart(edit.target)) >= 0.25 - 1e-6
        assert all(max(abs(o.position_m[:2])) <= 4.0 for o in edit.target.objects) and edit.text
    assert {edit.kind for edit in edits} == {f"{o}{end}" for o in OPERATIONS for end in ("", "_relation")}
    operations = Counter(edit.program.row.operation for edit in edits)
    assert 0.18 < operations["change"] / len(edits) < 0.42


def test_settings_of_edits() -> None:
    rng = random.Random(1)
    scene = apart_scene(rng)
    only = EditGenerator(0, RULES, EditSettings(operations={"remove": 1.0}, relations=0.0, noise=0.0)).edits(scene, 20)
    assert {edit.kind for edit in only} == {"remove"}
    seen, held_out = ({e.text for e in EditGenerator(
        0, RULES, EditSettings(relations=0.0, noise=0.0, held_out=flag)).edits(scene, 60)} for flag in (False, True))
    assert not seen & held_out
    for bad in ({"operations": {}}, {"operations": {"fly": 1.0}}, {"relations": 2.0}, {"noise": -1.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            EditSettings(**bad)
    with pytest.raises(SamplingError, match="scene of 0 objects"):
        EditGenerator(0, RULES).edits(Scene(), 1)


def test_a_scene_with_one_object_can_be_edited() -> None:
    scene = Scene((thing("small red metal sphere", 0, 0),))
    assert len(EditGenerator(0, RULES).edits(scene, 10)) == 10
