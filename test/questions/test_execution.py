"""Programs on a scene: answers worked by hand, refusals, confidence, and CLEVR's own answers."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from question_language import FOUR_THINGS, parse, thing

from kyvo_ros.data.clevr import read_clevr
from kyvo_ros.questions.clevr_format import question_from_record
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import FUNCTIONS
from kyvo_ros.questions.program import ProgramError
from kyvo_ros.scene import Scene, SceneError, SceneObject

BALL, CUBE = "unique(filter_shape(sphere, filter_color(red, scene)))", "unique(filter_shape(cube, scene))"
CYLINDER, GRAY = "unique(filter_shape(cylinder, scene))", "unique(filter_color(gray, scene))"
CAMERA_M = (0.0, -9.0, 5.0)


@pytest.mark.parametrize(("program", "text", "indices"), [
    ("count(scene)", "4", (0, 1, 2, 3)),
    ("count(filter_color(red, scene))", "2", (0, 1)),
    ("count(filter_color(cyan, scene))", "0", ()),
    ("exist(filter_material(metal, filter_shape(cube, scene)))", "no", ()),
    (f"exist(relate(left, {CUBE}))", "yes", (0, 1)),
    (f"count(relate(right, {CUBE}))", "2", (1, 2, 3)),
    (f"count(relate(behind, {CUBE}))", "1", (1, 2)),
    (f"query_color(unique(relate(front, {CUBE})))", "gray", (1, 3)),
    (f"query_shape(unique(same_size({CYLINDER})))", "sphere", (0, 2)),
    ("count(union(filter_color(red, scene), filter_shape(sphere, scene)))", "3", (0, 1, 3)),
    ("count(intersect(filter_color(red, scene), filter_shape(sphere, scene)))", "1", (0,)),
    ("equal_integer(count(filter_color(red, scene)), count(filter_shape(sphere, scene)))", "yes", (0, 1, 3)),
    ("less_than(count(filter_color(red, scene)), count(filter_color(blue, scene)))", "no", (0, 1, 2)),
    ("greater_than(count(filter_color(red, scene)), count(filter_color(blue, scene)))", "yes", (0, 1, 2)),
    (f"equal_size(query_size({CUBE}), query_size({GRAY}))", "yes", (1, 3)),
    (f"equal_shape(query_shape({CUBE}), query_shape({GRAY}))", "no", (1, 3)),
    (f"locate({CYLINDER})", "x 1.00 m, y 2.00 m, z 0.35 m in support_plane", (2,)),
    (f"distance({BALL}, {CUBE})", "2.03 m", (0, 1)),
    (f"distance({CUBE}, camera)", "9.97 m", (1,)),
    (f"extent({CUBE})", "1.40 x 1.40 x 1.40 m", (1,)),
    ("nearest(camera, scene)", "the large gray rubber sphere", (3,)),
    (f"nearest({CUBE}, scene)", "the small red metal sphere", (0, 1)),
    (f"farthest({CUBE}, filter_size(small, scene))", "the small blue metal cylinder", (1, 2)),
    ("largest(filter_color(red, scene))", "the large red rubber cube", (1,)),
    ("smallest(filter_color(red, scene))", "the small red metal sphere", (0,)),
    (f"between({BALL}, {GRAY})", "the large red rubber cube", (0, 1, 3)),
    (f"between({BALL}, {CUBE})", "none", (0, 1)),
    ("filter_size(small, scene)", "the small red metal sphere, the small blue metal cylinder", (0, 2)),
    (f"count(within(2.3, {CUBE}))", "2", (0, 1, 2)),
])
def test_answers(program: str, text: str, indices: tuple[int, ...]) -> None:
    answer = Executor(FOUR_THINGS, CAMERA_M).run(parse(program))
    assert (answer.text, answer.indices, answer.refusal) == (text, indices, "")
    assert answer.ids == tuple("abcd"[i] for i in indices)
    assert len(answer.trace) == parse(program).length


def test_the_trace_tells_the_steps_in_words() -> None:
    answer = Executor(FOUR_THINGS, CAMERA_M).run(parse(f"distance(unique(relate(front, {CUBE})), camera)"))
    assert answer.trace == (
        "objects: 4 of 4 objects (#0, #1, #2, #3)", "cubes: 1 of 4 objects (#1)",
        "the cube: large red rubber cube (#1)",
        "objects in front of the cube: 1 of 4 objects (#3)",
        "the object in front of the cube: large gray rubber sphere (#3)", "the camera", "distance: 8.46 m")


def test_values_carry_units() -> None:
    run = Executor(FOUR_THINGS, CAMERA_M).run
    assert run(parse(f"locate({CYLINDER})")).value == pytest.approx((1.0, 2.0, 0.35))
    assert run(parse(f"distance({BALL}, {CUBE})")).value == pytest.approx(math.hypot(2.0, 0.35))
    assert run(parse(f"distance({BALL}, {CUBE})")).unit == "m" and run(parse("count(scene)")).unit == ""
    assert run(parse("count(scene)")).value == 4 and run(parse("exist(scene)")).value is True
    assert run(parse("filter_size(small, scene)")).value == (0, 2) and run(parse(CUBE)).value == (1,)


@pytest.mark.parametrize(("program", "kind", "message", "indices"), [
    ("query_size(unique(filter_color(red, scene)))", "several", "there are 2 red objects", (0, 1)),
    ("query_size(unique(filter_color(cyan, scene)))", "none", "there is no cyan object", ()),
    (f"count(relate(left, unique(relate(left, {BALL}))))", "none", "there is no object left of the red sphere", ()),
    ("largest(filter_size(large, scene))", "several", "2 large objects are equally large", (1, 3)),
    ("nearest(camera, filter_color(cyan, scene))", "none", "no cyan object to choose from", ()),
    ("unknown", "unknown", "not a question about the objects", ()),
])
def test_a_failed_premise_is_explained_and_not_guessed(
        program: str, kind: str, message: str, indices: tuple[int, ...]) -> None:
    answer = Executor(FOUR_THINGS, CAMERA_M).run(parse(program))
    assert (answer.refusal, answer.value, answer.confidence, answer.indices) == (kind, None, 0.0, indices)
    assert message in answer.text and message in answer.trace[-1]


def test_what_is_not_known_is_refused() -> None:
    assert Executor(FOUR_THINGS).run(parse("nearest(camera, scene)")).refusal == "no_camera"
    bare = Executor(Scene([SceneObject({"color": "red"}, (0, 0, 0))]))
    for program in ("extent(unique(scene))", "query_shape(unique(scene))", "largest(scene)"):
        assert bare.run(parse(program)).refusal == "unmeasured"


def test_an_empty_scene_answers() -> None:
    executor = Executor(Scene())
    assert executor.run(parse("count(scene)")).text == "0" and executor.run(parse("exist(scene)")).text == "no"
    assert executor.run(parse("query_size(unique(scene))")).refusal == "none"


@pytest.mark.parametrize(("program", "confidence"), [
    ("count(filter_color(red, scene))", 0.9 * 0.8),
    ("exist(filter_color(red, scene))", 1 - 0.1 * 0.2),
    (f"exist(relate(left, {CUBE}))", 0.8 * 0.9),
    ("exist(filter_color(cyan, scene))", 1.0),
    (f"query_color({CYLINDER})", 0.5),
    (f"distance({BALL}, {CYLINDER})", 0.9 * 0.5),
    (f"equal_size(query_size({CUBE}), query_size({CUBE}))", 0.8),  # one object, counted once
])
def test_confidence_comes_from_the_objects(program: str, confidence: float) -> None:
    assert Executor(FOUR_THINGS).run(parse(program)).confidence == pytest.approx(confidence)


def test_relations_need_the_frame_of_the_camera() -> None:
    elsewhere = Executor(Scene(FOUR_THINGS.objects, "map"))
    assert elsewhere.run(parse("count(scene)")).text == "4"
    with pytest.raises(SceneError, match="expected a scene in support_plane, got map"):
        elsewhere.run(parse(f"count(relate(left, {CUBE}))"))


def test_edits_are_not_questions() -> None:
    with pytest.raises(ProgramError, match="got remove; see `edits.apply_edit`"):
        Executor(FOUR_THINGS).run(parse(f"remove({BALL})"))


def test_between_does_not_take_what_stands_aside() -> None:
    ends = (thing("small red metal sphere", -2, 0), thing("small blue metal sphere", 2, 0))
    program = parse("count(between(unique(filter_color(red, scene)), unique(filter_color(blue, scene))))")
    for y, count in ((0.0, "1"), (0.8, "1"), (0.9, "0")):  # at the middle, 135 degrees are seen from y = 0.83
        assert Executor(Scene((*ends, thing("small gray metal cube", 0, y)))).run(program).text == count


def test_every_function_of_a_question_is_executed() -> None:
    for function in FUNCTIONS.values():
        assert function.output == "edit" or hasattr(Executor, f"_{function.operation}")


#: The first scene of CLEVR-like renders by the public generator, in the support-plane frame, and its answers.
CLEVR_SCENE = Scene((
    thing("small red metal sphere", 1.16, 0.03), thing("large cyan rubber cylinder", -0.33, -3.67),
    thing("large cyan metal cube", 0.38, 3.99), thing("large brown metal sphere", -1.78, 1.11)))


@pytest.mark.parametrize(("program", "answer"), [
    ("query_size(unique(filter_material(metal, relate(front, unique(filter_material(metal, filter_size(large, "
     "relate(left, unique(filter_color(cyan, filter_size(large, relate(front, unique(filter_color(brown, scene)))))"
     ")))))))))", "small"),
    ("exist(filter_material(metal, filter_size(small, relate(behind, unique(filter_color(cyan, filter_size(large, "
     "relate(behind, unique(filter_material(rubber, scene))))))))))", "no"),
    ("query_color(unique(filter_material(metal, relate(right, unique(filter_color(cyan, filter_size(large, "
     "relate(behind, unique(filter_material(metal, filter_color(brown, scene)))))))))))", "red"),
])
def test_embedded_answers_of_clevr(program: str, answer: str) -> None:
    assert Executor(CLEVR_SCENE).run(parse(program)).text == answer


def test_all_answers_of_clevr(shared_dir: Path) -> None:
    folder = shared_dir / "clevr" / "train"
    records = json.loads((folder / "questions.json").read_text())["questions"]
    executors = {s.image_path.name: Executor(s.scene) for s in read_clevr(folder)[:60]}
    questions = [question_from_record(r) for r in records if r["image_filename"] in executors]
    wrong = [q.question for q in questions if executors[q.image_filename].run(q.program).text != q.answer]
    assert questions and not wrong


def test_relations_hold_from_an_offset_that_is_given() -> None:
    program = parse("exist(relate(left, unique(filter_shape(cube, scene))))")
    assert Executor(FOUR_THINGS).run(program).value and Executor(FOUR_THINGS, relation_epsilon_m=1.9).run(program).value
    assert not Executor(FOUR_THINGS, relation_epsilon_m=2.1).run(program).value


def test_alike_are_also_objects_whose_value_the_language_lacks() -> None:
    cones = [SceneObject({"color": color, "shape": "cone"}, (x, 0, 0)) for x, color in enumerate(("red", "blue", "red"))]
    first = "unique(filter_color(blue, scene))"
    assert Executor(Scene(cones)).run(parse(f"count(same_shape({first}))")).value == 2
    bare = [SceneObject({"color": color}, (x, 0, 0)) for x, color in enumerate(("red", "blue"))]
    assert Executor(Scene(bare)).run(parse(f"count(same_shape({first}))")).value == 0
