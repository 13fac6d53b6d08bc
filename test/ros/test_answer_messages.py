"""Answers as messages: each kind of value in its field, refusals, and places in another frame."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from builtin_interfaces.msg import Time  # noqa: E402
from kyvo_msgs.msg import Answer as AnswerMsg  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from kyvo_ros.questions import Executor, Program, direct_answer, in_frame  # noqa: E402
from kyvo_ros.questions.functions import ANSWER_TYPES  # noqa: E402
from kyvo_ros.ros.conversions.answers import _VALUES, answer_to_msg  # noqa: E402
from kyvo_ros.scene import Scene, SceneObject  # noqa: E402

HEADER = Header(stamp=Time(sec=7, nanosec=5), frame_id="camera")
ALL = Program("scene")
BALL = Program("unique", (Program("filter_shape", (ALL,), ("sphere",)),))


def _object(shape: str, x: float, name: str) -> SceneObject:
    words = {"size": "large", "color": "red", "material": "rubber", "shape": shape}
    return SceneObject(words, (x, 0.5, 0.7), size_m=(1.4, 1.3, 1.4), id=name, confidence=0.5)


SCENE = Scene((_object("cube", 0.0, "object_4"), _object("sphere", 2.0, "object_1")))
#: Programs by the field that holds their value, and what it holds.
VALUES = {
    "boolean": (Program("exist", (ALL,)), True),
    "number": (Program("count", (ALL,)), 2.0),
    "word": (Program("query_color", (BALL,)), "red"),
    "named_ids": (Program("relate", (BALL,), ("left",)), ["object_4"]),
}


def _message(program: Program) -> AnswerMsg:
    return answer_to_msg(Executor(SCENE, (0.0, 0.5, 0.7)).run(program), HEADER)


@pytest.mark.parametrize("field", VALUES)
def test_a_value_stands_in_its_field_and_nowhere_else(field: str) -> None:
    program, value = VALUES[field]
    message, untouched = _message(program), AnswerMsg()
    assert getattr(message, field) == value and message.kind and not message.refused
    for other in ("boolean", "number", "point", "extents", "word", "named_ids"):
        assert other == field or getattr(message, other) == getattr(untouched, other)


def test_lengths_places_and_extents_have_a_unit() -> None:
    length = _message(Program("distance", (BALL, Program("camera"))))
    assert (length.kind, length.number, length.unit) == (AnswerMsg.LENGTH, 2.0, "m")
    place = _message(Program("locate", (BALL,)))
    assert (place.kind, place.unit) == (AnswerMsg.PLACE, "m")
    assert (place.point.x, place.point.y, place.point.z) == (2.0, 0.5, 0.7)
    extents = _message(Program("extent", (BALL,)))
    assert (extents.kind, extents.unit) == (AnswerMsg.EXTENTS, "m")
    assert (extents.extents.x, extents.extents.y, extents.extents.z) == (1.4, 1.3, 1.4)


def test_the_rest_of_an_answer() -> None:
    message = _message(BALL)
    assert message.header == HEADER and message.text == "the large red rubber sphere"
    assert (message.kind, message.named_ids, message.object_ids) == (AnswerMsg.OBJECTS, ["object_1"], ["object_1"])
    assert message.confidence == 0.5 and message.program == "unique(filter_shape(sphere, scene))"
    assert len(message.trace) == 3
    generous = answer_to_msg(replace(Executor(SCENE).run(ALL), confidence=1.0 + 1e-9), HEADER)
    assert generous.confidence == 1.0 and generous.named_ids == ["object_4", "object_1"]


@pytest.mark.parametrize("word, kind, field, value", [
    ("yes", AnswerMsg.BOOLEAN, "boolean", True), ("no", AnswerMsg.BOOLEAN, "boolean", False),
    ("10", AnswerMsg.NUMBER, "number", 10.0), ("teapot", AnswerMsg.WORD, "word", "teapot")])
def test_a_word_that_was_said_directly_has_a_value_and_no_program(word: str, kind: str, field: str, value) -> None:
    message = answer_to_msg(direct_answer(word, 0.25), HEADER)
    assert (message.text, message.kind, getattr(message, field)) == (word, kind, value)
    assert (message.program, message.object_ids, message.refused, message.confidence) == ("", [], False, 0.25)
    assert "directly" in message.trace[0]


def test_a_refusal_has_no_value() -> None:
    message = _message(Program("query_color", (Program("unique", (ALL,)),)))
    assert message.refused and (message.refusal, message.kind, message.word) == (AnswerMsg.SEVERAL, "", "")
    assert message.text.startswith("I cannot answer that: there are 2")
    assert message.object_ids == ["object_4", "object_1"] and message.confidence == 0.0


def test_every_type_of_answer_but_unknown_has_a_kind() -> None:
    assert set(_VALUES) == {*ANSWER_TYPES, "word"} - {"unknown"}
    constants = {AnswerMsg.BOOLEAN, AnswerMsg.NUMBER, AnswerMsg.LENGTH, AnswerMsg.PLACE, AnswerMsg.EXTENTS,
                 AnswerMsg.WORD, AnswerMsg.OBJECTS}
    assert {kind for kind, _, _ in _VALUES.values()} == constants


def test_a_place_in_another_frame_says_so_everywhere() -> None:
    answer = Executor(SCENE).run(Program("locate", (BALL,)))
    moved = in_frame(answer, np.array([0.0, -1.0, 3.25]), "map")
    assert moved.value == (0.0, -1.0, 3.25) and moved.text == "x 0.00 m, y -1.00 m, z 3.25 m in map"
    assert moved.trace == (*answer.trace[:-1], f"locate: {moved.text}")
    assert answer.trace[-1] == f"locate: {answer.text}" and answer.text.endswith("in support_plane")
    same = {f.name for f in fields(answer)} - {"value", "text", "trace"}
    assert all(getattr(moved, name) == getattr(answer, name) for name in same)
