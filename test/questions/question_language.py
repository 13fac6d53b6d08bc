"""A small scene to ask about, and programs in the notation of `str(program)`: `count(filter_color(red, scene))`."""

from __future__ import annotations

import re

from kyvo_ros.questions.functions import FUNCTIONS
from kyvo_ros.questions.program import Program
from kyvo_ros.scene import Scene, SceneObject

_EXTENTS = {"large": 1.4, "small": 0.7}


def thing(words: str, x: float, y: float, confidence: float = 1.0, name: str = "") -> SceneObject:
    """An object from `size color material shape`, on the plane; a cube is as wide as the rest here."""
    attributes = dict(zip(("size", "color", "material", "shape"), words.split()))
    extent = _EXTENTS[attributes["size"]]
    return SceneObject(attributes, (x, y, extent / 2), None, (extent,) * 3, name, confidence)


#: From left to right: a small red ball, a large red cube, a small blue cylinder behind, a large gray ball in front.
FOUR_THINGS = Scene((
    thing("small red metal sphere", -2.0, 0.0, 0.9, "a"), thing("large red rubber cube", 0.0, 0.0, 0.8, "b"),
    thing("small blue metal cylinder", 1.0, 2.0, 0.5, "c"), thing("large gray rubber sphere", 2.0, -2.0, 1.0, "d")))


def parse(text: str) -> Program:
    """The program that `str` writes so."""
    tokens = re.findall(r"[\w.]+|[()]", text)
    program, rest = _parse(tokens)
    assert not rest, rest
    return program


def _parse(tokens: list[str]) -> tuple[Program, list[str]]:
    name, tokens = tokens[0], tokens[1:]
    values, inputs = [], []
    if tokens and tokens[0] == "(":
        tokens = tokens[1:]
        for kind in FUNCTIONS[name].values:
            values.append(float(tokens[0]) if kind == "metres" else tokens[0])
            tokens = tokens[1:]
        while tokens[0] != ")":
            part, tokens = _parse(tokens)
            inputs.append(part)
        tokens = tokens[1:]
    return Program(name, tuple(inputs), tuple(values)), tokens
