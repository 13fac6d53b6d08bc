"""Answers: kyvo_ros.questions.Answer -> kyvo_msgs/Answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Point, Vector3
from kyvo_msgs.msg import Answer as AnswerMsg
from std_msgs.msg import Header

from kyvo_ros.questions import ATTRIBUTES, Answer


def answer_to_msg(answer: Answer, header: Header) -> AnswerMsg:
    """kyvo_msgs/Answer; places stand in the frame of `header` already (see `questions.in_frame`)."""
    message = AnswerMsg(
        header=header, text=answer.text, unit=answer.unit, confidence=min(1.0, float(answer.confidence)),
        object_ids=list(answer.ids), refused=bool(answer.refusal), refusal=answer.refusal,
        program=str(answer.program or ""), trace=list(answer.trace))
    if not answer.refusal:
        message.kind, field, convert = _VALUES[answer.type]
        setattr(message, field, convert(answer))
    return message


def _named(answer: Answer) -> list[str]:
    """Ids of the objects that are the answer; those are among the objects that it rests on."""
    ids = dict(zip(answer.indices, answer.ids))
    return [ids[index] for index in answer.value]


def _vector(kind: type) -> Callable[[Answer], Any]:
    return lambda answer: kind(**dict(zip("xyz", map(float, answer.value))))


_OBJECTS = (AnswerMsg.OBJECTS, "named_ids", _named)
_WORD = (AnswerMsg.WORD, "word", lambda answer: str(answer.value))
#: By the type of an answer: the message's kind, the field of the value, and how it gets there.
_VALUES: dict[str, tuple[str, str, Callable[[Answer], Any]]] = {
    "boolean": (AnswerMsg.BOOLEAN, "boolean", lambda answer: bool(answer.value)),
    "number": (AnswerMsg.NUMBER, "number", lambda answer: float(answer.value)),
    "length": (AnswerMsg.LENGTH, "number", lambda answer: float(answer.value)),
    "place": (AnswerMsg.PLACE, "point", _vector(Point)),
    "extents": (AnswerMsg.EXTENTS, "extents", _vector(Vector3)),
    "object": _OBJECTS, "objects": _OBJECTS,
    **dict.fromkeys(("word", *ATTRIBUTES), _WORD),
}
