"""Scenes in the text that the published Kyvo code writes: read as strictly as they are defined, or as it reads them.

`parse_scene_text` takes what is well formed and lists every defect. `published_objects` is faithful to the published
evaluation, which takes what its regular expressions find and drops the rest in silence; the published metrics build on
it. On text without defects the two agree. Objects are dictionaries as in the published prediction files.
Source: the published code's expressions and outputs (reference outputs of AadSah/kyvo, commit be438d3).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kyvo_ros.tokens.grid import NumberGrid, NumberList
from kyvo_ros.tokens.schema import CLEVR_SCHEMA
from kyvo_ros.tokens.vocabulary import Vocabulary

_SCENE_START, _SCENE_END, _OBJECT_START, _OBJECT_END = (
    "[SCENE-START]", "[SCENE-END]", "[OBJECT-START]", "[OBJECT-END]")
_END_OF_TEXT = "<|end_of_text|>"
_MARKER = re.compile(r"(\[[A-Z_-]+\])")


class UnknownDatasetError(ValueError):
    """No layout has this name."""


@dataclass(frozen=True)
class TextLayout:
    """How the objects of one data set are written: words and rows of numbers, each behind its marker."""

    words: Mapping[str, str]  # key in an object -> marker
    numbers: Mapping[str, tuple[str, int]]  # key in an object -> marker, how many numbers
    grid: NumberGrid | NumberList  # the numbers that have a token
    decimals: int  # digits behind the point of every number
    anywhere: bool  # the published code looks for numbers anywhere in an object, or right behind their marker
    known_words: Mapping[str, tuple[str, ...]]  # key in an object -> all words there are, where the data set says so

    @property
    def markers(self) -> list[str]:
        """In the order in which they are written."""
        return [*self.words.values(), *(marker for marker, _ in self.numbers.values())]


_CLEVR_GRID = Vocabulary.published_clevr().numbers
TEXT_LAYOUTS = {
    "CLEVR": TextLayout(
        {"size": "[SIZE]", "color": "[COLOR]", "material": "[MATERIAL]", "shape": "[SHAPE]"},
        {"3d_coords": ("[LOCATION]", 3)}, _CLEVR_GRID, 3, True, {a.name: a.values for a in CLEVR_SCHEMA.words}),
    # x, y, z and the rotation in radians
    "ObjaWorld": TextLayout({"shape": "[SHAPE]"}, {"3d_coords": ("[LOCATION]", 4)}, _CLEVR_GRID, 3, True, {}),
    "Objectron": TextLayout(
        {"category": "[CATEGORY]"}, {"center_cam": ("[CENTER_CAM]", 3), "dimensions": ("[DIMENSIONS]", 3)},
        Vocabulary.published_objectron().numbers, 2, False, {}),
}


@dataclass(frozen=True)
class ParsedScene:
    """What a text says."""

    objects: tuple[dict[str, Any], ...]  # those without a defect
    defects: tuple[str, ...]  # in the order of the text; empty for a well-formed scene


def parse_scene_text(text: str, dataset: str) -> ParsedScene:
    """The well-formed objects of a scene's text, and all that is wrong with it.

    Args:
        text: [SCENE-START] to [SCENE-END], the end-of-text token may follow.
        dataset: one of TEXT_LAYOUTS. Raises UnknownDatasetError.
    """
    if dataset not in TEXT_LAYOUTS:
        raise UnknownDatasetError(f"the data set must be one of {tuple(TEXT_LAYOUTS)}, got {dataset!r}")
    body, defects = _scene_body(text)
    before, *pieces = body.split(_OBJECT_START)
    defects += _outside(before)
    objects = []
    for index, piece in enumerate(pieces):
        inside, end, behind = piece.partition(_OBJECT_END)
        found, faults = _parse_object(inside, TEXT_LAYOUTS[dataset])
        if not end:
            faults = [f"{_OBJECT_END} is missing", *faults]
        if not faults:
            objects.append(found)
        defects += [f"object {index}: {fault}" for fault in faults] + _outside(behind)
    return ParsedScene(tuple(objects), tuple(defects))


def _scene_body(text: str) -> tuple[str, list[str]]:
    """What stands between the scene's brackets, and what is wrong with them."""
    defects = []
    text = text.removesuffix(_END_OF_TEXT)
    before, start, behind = text.partition(_SCENE_START)
    if not start:
        defects.append(f"{_SCENE_START} is missing")
        behind = text
    elif before:
        defects.append(f"text before {_SCENE_START}: {before!r}")
    body, end, after = behind.partition(_SCENE_END)
    if not end:
        defects.append(f"{_SCENE_END} is missing")
    elif after:
        defects.append(f"text behind {_SCENE_END}: {after!r}")
    return body, defects


def _outside(text: str) -> list[str]:
    return [f"text outside of objects: {text!r}"] if text else []


def _parse_object(text: str, layout: TextLayout) -> tuple[dict[str, Any], list[str]]:
    """An object's values, and what is wrong with it."""
    before, *parts = _MARKER.split(text)
    markers, values = parts[::2], parts[1::2]
    defects = [f"text before the first marker: {before!r}"] if before else []
    if markers != layout.markers:
        return {}, defects + _marker_defects(markers, layout.markers)
    behind, found = dict(zip(markers, values)), {}
    for name, marker in layout.words.items():
        match = re.fullmatch(r" (\w+)", behind[marker])
        if match is None:
            defects.append(f"expected one word after one space behind {marker}, got {behind[marker]!r}")
            continue
        found[name] = match[1]
        if match[1] not in layout.known_words.get(name, (match[1],)):
            defects.append(f"{match[1]!r} is no {name} of {layout.known_words[name]}")
    for name, (marker, count) in layout.numbers.items():
        found[name], faults = _numbers(behind[marker], count, layout)
        defects += [f"{fault} behind {marker}, got {behind[marker]!r}" for fault in faults]
    return found, defects


def _marker_defects(markers: list[str], expected: list[str]) -> list[str]:
    defects = [f"{marker} is missing" for marker in expected if marker not in markers]
    defects += [f"{marker} comes {markers.count(marker)} times" for marker in expected if markers.count(marker) > 1]
    defects += [f"{marker} does not belong here" for marker in dict.fromkeys(markers) if marker not in expected]
    return defects or [f"markers come in the order {markers}, expected {expected}"]


def _numbers(text: str, count: int, layout: TextLayout) -> tuple[list[float], list[str]]:
    number = rf"-?\d+\.\d{{{layout.decimals}}}"
    # Faithful to the published code for Objectron: depth and height, the last of three, have no sign.
    last = number if layout.anywhere else number.removeprefix("-?")
    if re.fullmatch(rf"(?:{number}){{{count - 1}}}{last}", text) is None:
        return [], [f"expected {count} numbers with {layout.decimals} decimals and nothing else"]
    values = [float(value) for value in re.findall(number, text)]
    known = set(layout.grid.values().tolist())
    return values, [f"{value} is no number of the grid" for value in values if value not in known]


def published_objects(text: str, dataset: str) -> list[dict[str, Any]]:
    """The objects that the published evaluation finds in a text, oddities included.

    The i-th start of an object belongs to the i-th end, whatever lies between; an object that lacks something is
    dropped in silence; in CLEVR and ObjaWorld numbers may stand anywhere and be any number; only the first of several
    words counts. A data set of another name has no objects.
    """
    layout = TEXT_LAYOUTS.get(dataset)
    if layout is None:
        return []
    for mark in (_END_OF_TEXT, _SCENE_START, _SCENE_END):
        text = text.replace(mark, "")
    starts = [match.end() for match in re.finditer(re.escape(_OBJECT_START), text)]
    ends = [match.start() for match in re.finditer(re.escape(_OBJECT_END), text)]
    found = [_published_object(text[start:end], layout) for start, end in zip(starts, ends)]
    return [values for values in found if values is not None]


def _published_object(text: str, layout: TextLayout) -> dict[str, Any] | None:
    values: dict[str, Any] = {}
    for name, marker in layout.words.items():
        match = re.search(re.escape(marker) + r" (\w+)", text)
        if match is None:
            return None
        values[name] = match[1]
    number = rf"-?\d+\.\d{{{layout.decimals}}}"
    for name, (marker, count) in layout.numbers.items():
        if layout.anywhere:
            values[name] = [float(value) for value in re.findall(number, text)]
            continue
        match = re.search(re.escape(marker) + rf"({number})" * (count - 1) + rf"({number.removeprefix('-?')})", text)
        if match is None:
            return None
        values[name] = [float(value) for value in match.groups()]
    return values
