"""The functions of the question language in one table: what each takes, what it gives, how it is written in tokens.

The first part are CLEVR's (arXiv 1612.06890), under their names in CLEVR's question files; then what robots ask, then
the edits of an instruction. The table knows neither scenes (see `execution`, `edits`) nor English (see `phrases`).
"""

from __future__ import annotations

from dataclasses import dataclass

from kyvo_ros.scene import RELATIONS

#: Values of each attribute, in the order in which CLEVR filters by them and English names them.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "size": ("large", "small"),
    "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
    "material": ("rubber", "metal"),
    "shape": ("cube", "sphere", "cylinder"),
}
#: Words that a value argument may be; the remaining kind of value is "metres".
VALUE_WORDS = {**ATTRIBUTES, "relation": RELATIONS}
#: Distances in a program are multiples of the step, below the limit.
METRES_STEP, METRES_LIMIT = 0.05, 21.0


@dataclass(frozen=True)
class Function:
    """One row of the table.

    Types: objects (a set), object, point (an object or the camera), number, boolean, size, color, material, shape,
    place, length, extents; edit (a changed scene); unknown (no answer).
    """

    name: str
    operation: str  # what it does; functions of one operation differ in their attribute only
    values: tuple[str, ...]  # kinds of its value arguments: keys of VALUE_WORDS, or "metres"
    inputs: tuple[str, ...]  # types of its inputs
    output: str  # its type
    words: str = ""  # written before its values and inputs; none where the value alone says it
    attribute: str = ""  # the attribute that it is about


def _of_each_attribute(name: str, values: bool, inputs: tuple[str, ...], output: str, words: str) -> list[Function]:
    """A row an attribute: `name`_color, and so on; an empty `output` is the attribute itself."""
    return [Function(f"{name}_{attribute}", name, (attribute,) if values else (), inputs, output or attribute,
                     f"{words} {attribute}" if words else "", attribute) for attribute in ATTRIBUTES]


_ROWS = [
    # CLEVR
    Function("scene", "scene", (), (), "objects", "scene"),
    *_of_each_attribute("filter", True, ("objects",), "objects", ""),
    Function("unique", "unique", (), ("objects",), "object", "unique"),
    Function("relate", "relate", ("relation",), ("object",), "objects"),
    *_of_each_attribute("same", False, ("object",), "objects", "same"),
    Function("union", "union", (), ("objects", "objects"), "objects", "union"),
    Function("intersect", "intersect", (), ("objects", "objects"), "objects", "intersect"),
    Function("count", "count", (), ("objects",), "number", "count"),
    Function("exist", "exist", (), ("objects",), "boolean", "exist"),
    *_of_each_attribute("query", False, ("object",), "", "query"),
    Function("equal_integer", "equal", (), ("number", "number"), "boolean", "equal number"),
    Function("less_than", "less_than", (), ("number", "number"), "boolean", "less"),
    Function("greater_than", "greater_than", (), ("number", "number"), "boolean", "greater"),
    *(Function(f"equal_{a}", "equal", (), (a, a), "boolean", f"equal {a}", a) for a in ATTRIBUTES),
    # What robots ask
    Function("camera", "camera", (), (), "point", "camera"),
    Function("locate", "locate", (), ("object",), "place", "where"),
    Function("distance", "distance", (), ("point", "point"), "length", "distance"),
    Function("extent", "extent", (), ("object",), "extents", "extent"),
    Function("nearest", "nearest", (), ("point", "objects"), "object", "nearest"),
    Function("farthest", "farthest", (), ("point", "objects"), "object", "farthest"),
    Function("largest", "largest", (), ("objects",), "object", "largest"),
    Function("smallest", "smallest", (), ("objects",), "object", "smallest"),
    Function("between", "between", (), ("point", "point"), "objects", "between"),
    Function("within", "within", ("metres",), ("point",), "objects", "within"),
    Function("unknown", "unknown", (), (), "unknown", "unknown"),
    # Edits
    *_of_each_attribute("change", True, ("object",), "edit", "change"),
    Function("remove", "remove", (), ("object",), "edit", "remove"),
    Function("move_by", "move_by", ("relation", "metres"), ("object",), "edit", "move"),
    Function("move_next", "move_next", ("relation",), ("object", "object"), "edit", "place"),
    Function("insert_at", "insert_at", (*ATTRIBUTES, "relation", "metres"), ("object",), "edit", "add"),
    Function("insert_next", "insert_next", (*ATTRIBUTES, "relation"), ("object",), "edit", "put"),
]
FUNCTIONS: dict[str, Function] = {row.name: row for row in _ROWS}

#: Types that the program of a whole question may have.
ANSWER_TYPES = tuple(dict.fromkeys(f.output for f in _ROWS if f.output not in ("point", "edit")))


def accepts(wanted: str, given: str) -> bool:
    """Whether an input of type `wanted` takes a program of type `given`."""
    return wanted == given or (wanted, given) == ("point", "object")
