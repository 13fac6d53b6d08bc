"""Programs as typed trees: what is well typed, what is refused, and the linear form."""

from __future__ import annotations

import pytest
from question_language import parse

from kyvo_ros.questions.functions import ANSWER_TYPES, FUNCTIONS
from kyvo_ros.questions.linear import ANSWER, EDIT, RULES, program_of, symbols_of
from kyvo_ros.questions.program import MAX_FUNCTIONS, Program, ProgramError, canonical, filtered, filters_of

SCENE = Program("scene")
RED_CUBE = parse("unique(filter_shape(cube, filter_color(red, scene)))")


def test_the_table_holds_every_function_of_clevr() -> None:
    attributes = ("size", "color", "material", "shape")
    each = {f"{name}_{a}" for name in ("filter", "query", "same", "equal") for a in attributes}
    plain = {"scene", "unique", "relate", "union", "intersect", "count", "exist", "equal_integer", "less_than",
             "greater_than"}
    assert each | plain <= set(FUNCTIONS)
    assert "edit" not in ANSWER_TYPES and "point" not in ANSWER_TYPES


@pytest.mark.parametrize(("function", "inputs", "values", "message"), [
    ("jump", (SCENE,), (), "no function 'jump'"),
    ("count", (RED_CUBE,), (), r"count takes inputs of types \('objects',\), got \('object',\)"),
    ("count", (), (), "count takes inputs"),
    ("filter_color", (SCENE,), ("pink",), "filter_color expects a color of .*, got 'pink'"),
    ("filter_color", (SCENE,), (), "filter_color takes the values"),
    ("within", (RED_CUBE,), (-1.0,), "within expects metres in steps of 0.05"),
    ("within", (RED_CUBE,), (0.333,), "got 0.333"),
    ("within", (RED_CUBE,), (float("nan"),), "got nan"),
    ("within", (RED_CUBE,), ("near",), "got 'near'"),
    ("within", (SCENE,), (1.0,), "within takes inputs of types"),
    ("equal_color", (parse("query_size(unique(scene))"),) * 2, (), "equal_color takes inputs"),
])
def test_what_is_not_well_typed_is_named(function: str, inputs: tuple, values: tuple, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Program(function, inputs, values)


def test_the_camera_and_an_object_are_both_points() -> None:
    assert parse("distance(camera, unique(scene))").type == "length"
    with pytest.raises(ProgramError, match="locate takes inputs"):
        Program("locate", (Program("camera"),))


def test_a_program_cannot_grow_without_end() -> None:
    program = SCENE
    with pytest.raises(ProgramError, match=f"at most {MAX_FUNCTIONS} functions"):
        for _ in range(MAX_FUNCTIONS):
            program = Program("union", (program, SCENE))


def test_filters_have_a_canonical_order_and_nothing_else_moves() -> None:
    program = parse("count(filter_size(large, filter_shape(cube, relate(left, unique(filter_color(red, scene))))))")
    assert str(canonical(program)) == (
        "count(filter_shape(cube, filter_size(large, relate(left, unique(filter_color(red, scene))))))")
    pairs, base = filters_of(program.inputs[0])
    assert pairs == [("size", "large"), ("shape", "cube")] and base.function == "relate"
    assert filtered(base, pairs) == canonical(program).inputs[0]


def test_symbols_follow_the_order_of_english() -> None:
    ball = "unique(filter_shape(sphere, filter_material(metal, scene)))"
    program = parse(f"count(filter_color(red, relate(left, {ball})))")
    assert symbols_of(program) == ["count", "red", "left", "unique", "metal", "sphere", "scene"]
    assert symbols_of(parse("exist(within(2.35, camera))")) == ["exist", "within", "2", 0.35, "camera"]


@pytest.mark.parametrize("text", [
    "count(filter_shape(cube, filter_size(large, scene)))", "within(12.95, unique(scene))",
    "equal_integer(count(scene), count(same_color(unique(scene))))", "nearest(unique(scene), filter_color(red, scene))",
    "less_than(count(union(scene, filter_size(small, scene))), count(between(camera, unique(scene))))", "unknown",
    "equal_shape(query_shape(unique(scene)), query_shape(largest(intersect(scene, scene))))",
])
def test_the_linear_form_round_trips(text: str) -> None:
    assert program_of(symbols_of(parse(text))) == parse(text)


def test_edits_are_a_language_of_their_own() -> None:
    for text in ("move_by(left, 0.5, unique(scene))", "change_color(red, unique(scene))", "remove(unique(scene))",
                 "insert_next(large, red, metal, cube, left, unique(scene))"):
        assert program_of(symbols_of(parse(text)), EDIT) == parse(text)
        with pytest.raises(ProgramError, match="expected answer at symbol 0"):
            program_of(symbols_of(parse(text)), ANSWER)


@pytest.mark.parametrize(("symbols", "message"), [
    ([], "expected answer at symbol 0, got None"),
    (["count"], "expected objects at symbol 1, got None"),
    (["count", "scene", "scene"], "expected the end of the program at symbol 2, got 'scene'"),
    (["count", "red", "large", "scene"], "expected objects:color at symbol 2, got 'large'"),
    (["count", "unique", "scene"], "expected objects at symbol 1, got 'unique'"),
])
def test_symbols_that_are_no_program_are_named(symbols: list, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        program_of(symbols)


def test_two_filters_by_one_attribute_cannot_be_written() -> None:
    with pytest.raises(ProgramError, match="at most one filter an attribute"):
        symbols_of(parse("count(filter_color(red, filter_color(blue, scene)))"))


def test_a_symbol_decides_its_rule() -> None:
    for nonterminal, rules in RULES.items():
        symbols = [rule.symbol for rule in rules]
        assert symbols and len(set(symbols)) == len(symbols), nonterminal
