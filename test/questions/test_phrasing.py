"""Programs in English: plain sentences word for word, the tables' flags, and slips that leave the words readable."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
import string

import pytest
from question_language import parse

from kyvo_ros.questions import phrases
from kyvo_ros.questions.functions import ATTRIBUTES, FUNCTIONS
from kyvo_ros.questions.noise import disturb
from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.phrases import CLAUSES, INSTRUCTIONS, QUESTIONS, SUPERLATIVES, WORDS, Phrases

BALL = "unique(filter_shape(sphere, filter_color(red, scene)))"


@pytest.mark.parametrize(("program", "text"), [
    ("count(filter_shape(cube, filter_size(large, scene)))", "How many large cubes are there?"),
    (f"exist(filter_color(gray, relate(left, {BALL})))", "Is there a gray object left of the red sphere?"),
    (f"query_material({BALL})", "What is the red sphere made of?"),
    (f"query_color(unique(same_size({BALL})))", "What color is the object of the same size as the red sphere?"),
    ("equal_shape(query_shape(unique(scene)), query_shape(largest(scene)))",
     "Is the object the same shape as the largest object?"),
    ("less_than(count(scene), count(filter_color(red, scene)))", "Are there fewer objects than red objects?"),
    ("count(union(filter_color(red, scene), filter_shape(cube, scene)))", "How many red objects or cubes are there?"),
    ("exist(union(filter_color(red, scene), filter_shape(cube, scene)))", "Is there a red object or a cube?"),
    (f"count(filter_size(small, intersect(relate(left, {BALL}), within(1.5, camera))))",
     "How many small objects that are both left of the red sphere and within 1.5 m of the camera are there?"),
    (f"distance({BALL}, camera)", "How far is the red sphere?"),
    (f"distance({BALL}, unique(filter_shape(cube, scene)))", "How far is the red sphere from the cube?"),
    (f"nearest(camera, relate(left, {BALL}))",
     "What is the one nearest to the camera among the objects left of the red sphere?"),
    (f"between({BALL}, camera)", "Which objects between the red sphere and the camera are there?"),
    (f"locate({BALL})", "Where is the red sphere?"),
])
def test_plain_questions(program: str, text: str) -> None:
    assert Speaker().question(parse(program)) == text


@pytest.mark.parametrize(("program", "text"), [
    (f"change_color(blue, {BALL})", "Make the red sphere blue."),
    (f"change_shape(cube, {BALL})", "Make the red sphere a cube."),
    (f"remove({BALL})", "Remove the red sphere."),
    (f"move_by(right, 0.5, {BALL})", "Move the red sphere 0.5 m to the right."),
    (f"move_next(front, {BALL}, unique(filter_shape(cube, scene)))",
     "Put the red sphere directly in front of the cube."),
    (f"insert_at(small, cyan, metal, cube, left, 1.2, {BALL})",
     "Add a small cyan metal cube 1.2 m left of the red sphere."),
    (f"insert_next(small, cyan, metal, cube, behind, {BALL})",
     "Add a small cyan metal cube directly behind the red sphere."),
])
def test_plain_instructions(program: str, text: str) -> None:
    assert Speaker().instruction(parse(program)) == text


def _tables() -> dict[str, Phrases]:
    tables = {name: table for name, table in vars(phrases).items() if isinstance(table, dict)}
    return {f"{name} {key}": entry for name, table in tables.items() for key, entry in table.items()
            if isinstance(entry, Phrases)}


def test_a_third_of_the_phrasings_is_held_out_and_none_is_both() -> None:
    for name, entry in _tables().items():
        assert not set(entry.seen) & set(entry.held_out), name
        assert len(set(entry.seen)) == len(entry.seen) and len(set(entry.held_out)) == len(entry.held_out), name
    for table in (QUESTIONS, INSTRUCTIONS):
        held_out = sum(len(entry.held_out) for entry in table.values())
        everything = held_out + sum(len(entry.seen) for entry in table.values())
        assert 0.3 <= held_out / everything <= 0.37
        assert all(len(entry.held_out) >= 2 for entry in table.values())


def _words(phrasings: Iterable[str]) -> set[str]:
    return {word for text in phrasings for word in re.findall(r"[a-z]+", re.sub(r"{\w+}", " ", text))}


def test_every_word_of_a_held_out_phrasing_is_seen() -> None:
    """A word that was never seen cannot be understood; what is out of the language may use any."""
    entries = [entry for name, entry in _tables().items() if "unknown" not in name]
    assert not _words(t for e in entries for t in e.held_out) - _words(t for e in entries for t in e.seen)


def test_every_function_can_be_said() -> None:
    for function in FUNCTIONS.values():
        keys = {function.name, function.operation, function.output}
        if function.output == "edit":
            assert keys & set(INSTRUCTIONS), function.name
        elif function.output not in ("objects", "object", "point"):
            assert keys & set(QUESTIONS), function.name
        elif function.operation not in ("scene", "filter", "unique", "camera"):
            assert keys & (set(CLAUSES) | set(SUPERLATIVES)), function.name
    assert {value for values in ATTRIBUTES.values() for value in values} | {""} == set(WORDS)


def _skeletons(program: str, held_out: bool) -> set[str]:
    speaker = Speaker(random.Random(0), held_out)
    return {speaker.question(parse(program)) for _ in range(300)}


def test_held_out_sentences_are_never_seen_ones() -> None:
    program = "count(filter_color(red, scene))"  # without parts that both may share
    seen, held_out = _skeletons(program, False), _skeletons(program, True)
    assert len(seen) >= 2 * len(QUESTIONS["count"].seen) and not seen & held_out


def test_no_held_out_part_is_said_in_training() -> None:
    questions = _skeletons(f"count(within(1.5, unique(relate(left, {BALL}))))", False)
    for part in (" in a radius", "things standing", "on the left of"):
        assert not any(part in question for question in questions), part
    assert any("in a radius" in q for q in _skeletons(f"count(within(1.5, {BALL}))", True))


def test_a_seed_says_the_same() -> None:
    assert _skeletons(f"exist(same_color({BALL}))", False) == _skeletons(f"exist(same_color({BALL}))", False)


def test_slips_change_little_and_differ() -> None:
    text, rng = "How many large cubes are left of the shiny ball?", random.Random(0)
    disturbed = [disturb(text, rng) for _ in range(200)]
    assert len(set(disturbed)) > 60
    for variant in disturbed:
        assert abs(len(variant) - len(text)) <= 6
        assert set(variant) <= set(string.ascii_letters + " ?")
        assert len(variant.split()) in (9, 10)


def test_slips_survive_any_text() -> None:
    for text in ("", "?", "a", "why", "the the the", "\x00\n", "où est la boule"):
        assert all(isinstance(disturb(text, random.Random(seed)), str) for seed in range(30))
