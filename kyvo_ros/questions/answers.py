"""What a question gets: an answer in words with its value, confidence and supporting objects, or a refusal.

Confidence is the probability that every object the answer rests on is as the scene says, taken as independent: the
product of the confidences of the objects that were referred to, counted or listed. "Yes, there is one" needs only one
of those found, so it takes 1 - prod(1 - c) over them. What rests on no object, such as "no" or 0, has nothing to
doubt here and confidence 1: objects that a model missed are not known to the scene.

A model may also answer directly, by a word and without a program (`direct_answer`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.program import Program
from kyvo_ros.scene import Scene


class PremiseError(ValueError):
    """What a program takes for granted is not so in the scene."""

    def __init__(self, kind: str, message: str, objects: Collection[int] = ()) -> None:
        super().__init__(message)
        self.kind = kind  # none, several, no_camera, unmeasured, unknown
        self.objects = tuple(sorted(objects))  # those concerned


@dataclass(frozen=True)
class Result:
    """What a program gave within a run."""

    content: Any
    references: frozenset[int]  # objects that must all be right
    alternatives: frozenset[int]  # objects of which one must be right


@dataclass(frozen=True)
class Answer:
    """The answer to a question, or, with `refusal`, why there is none."""

    text: str  # yes, no, a number or a word as in CLEVR; a phrase with units; the reason of a refusal
    value: Any  # bool, int, str, metres (float), metres (x, y, z), indices of objects (tuple); None for a refusal
    unit: str  # "m", or ""
    confidence: float  # see the module; 0 for a refusal
    indices: tuple[int, ...]  # of the objects it rests on, in the scene, ascending
    ids: tuple[str, ...]  # of the same; empty names where nobody gave any
    program: Program | None  # None: the model has answered directly
    trace: tuple[str, ...]  # what each function gave, in words; of a direct answer one line that says so
    refusal: str = ""  # the kind of a failed premise (see PremiseError), or ""

    @property
    def type(self) -> str:
        """Of the value, as `functions.Function` names types; "word" for a word that the model has said directly."""
        if self.program is not None:
            return self.program.type
        return {bool: "boolean", int: "number"}.get(type(self.value), "word")


def direct_answer(word: str, probability: float) -> Answer:
    """The answer that a model has said directly; it rests on no object that anybody could name."""
    value = {"yes": True, "no": False}.get(word, int(word) if word.isdecimal() else word)
    return Answer(word, value, "", probability, (), (), None, (f"said directly, without a program: {word}",))


def answer_of(program: Program, result: Result, scene: Scene, trace: tuple[str, ...]) -> Answer:
    """The answer that a result is."""
    references = result.references | (result.content if program.type == "objects" else frozenset())
    value = result.content
    if program.type in ("object", "objects"):
        value = tuple(sorted(result.content)) if program.type == "objects" else (result.content,)
    indices = tuple(sorted(references | result.alternatives))
    unit = "m" if program.type in ("length", "place", "extents") else ""
    return Answer(_text(program.type, result.content, scene), value, unit,
                  _confidence(scene, references, result.alternatives), indices,
                  tuple(scene.objects[i].id for i in indices), program, trace)


def in_frame(answer: Answer, place_m: Sequence[float], frame_id: str) -> Answer:
    """The answer with its place (x, y, z) as another frame has it; only for answers that are a place."""
    text = _place_in_words(place_m, frame_id)
    last = f"{answer.program.function}: {text}"  # the place is what the outermost function gave
    return replace(answer, text=text, value=tuple(map(float, place_m)), trace=(*answer.trace[:-1], last))


def refusal_of(program: Program, error: PremiseError, scene: Scene, trace: tuple[str, ...]) -> Answer:
    """The refusal that a failed premise is."""
    text = f"I cannot answer that: {error}."
    return Answer(text, None, "", 0.0, error.objects, tuple(scene.objects[i].id for i in error.objects), program,
                  (*trace, str(error)), error.kind)


def _confidence(scene: Scene, references: frozenset[int], alternatives: frozenset[int]) -> float:
    certain = math.prod(scene.objects[i].confidence for i in references)
    if not alternatives or alternatives & references:  # one that is referred to anyway is the one found
        return certain
    return certain * (1 - math.prod(1 - scene.objects[i].confidence for i in alternatives))


def result_in_words(program: Program, content: Any, scene: Scene) -> str:
    """One line of a trace."""
    if program.type == "objects":
        noun = Speaker().noun(program, plural=True)
        return f"{noun}: {len(content)} of {len(scene)} objects{_numbers(content)}"
    if program.type == "object":
        return f"{Speaker().the(program)}: {scene.objects[content].label}{_numbers([content])}"
    if program.type == "point":
        return Speaker().the(program)
    return f"{program.function.replace('_', ' ')}: {_text(program.type, content, scene)}"


def _numbers(indices: Collection[int]) -> str:
    return f" ({', '.join(f'#{i}' for i in sorted(indices))})" if indices else ""


def _text(kind: str, content: Any, scene: Scene) -> str:
    """A result as it is said."""
    if kind == "boolean":
        return "yes" if content else "no"
    if kind == "length":
        return f"{content:.2f} m"
    if kind == "extents":
        return " x ".join(f"{extent:.2f}" for extent in content) + " m"
    if kind == "place":
        return _place_in_words(content, scene.frame_id)
    if kind == "object":
        return f"the {scene.objects[content].label}"
    if kind == "objects":
        return ", ".join(f"the {scene.objects[i].label}" for i in sorted(content)) or "none"
    return str(content)


def _place_in_words(place_m: Sequence[float], frame_id: str) -> str:
    return "x {:.2f} m, y {:.2f} m, z {:.2f} m in {}".format(*place_m, frame_id)
