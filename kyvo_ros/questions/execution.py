"""Programs run on a scene: an answer with the objects it rests on, or a refusal that says what is wrong.

Relations are CLEVR's (`scene.relations`), as seen from the camera. Distances are between centres, in three dimensions.
Between two points lies what sees them at least BETWEEN_ANGLE apart on the ground, whatever their distance. The largest
object is the one with the largest extent along an axis of its own. It knows nothing of tokens or models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from kyvo_ros.questions.answers import Answer, PremiseError, Result, answer_of, refusal_of, result_in_words
from kyvo_ros.questions.functions import ATTRIBUTES, FUNCTIONS
from kyvo_ros.questions.phrasing import Speaker
from kyvo_ros.questions.program import Program, ProgramError
from kyvo_ros.scene import RELATION_EPSILON_UNITS, Scene, relations_of

BETWEEN_ANGLE = math.radians(135)
#: Measures closer than this do not tell two objects apart, in metres.
TIE_M = 0.005

_CAMERA = -1  # stands for the camera where an object's index could stand
_Objects = frozenset  # of indices into the scene's objects


class Executor:
    """Runs any number of programs on one scene."""

    def __init__(self, scene: Scene, camera_position_m: Sequence[float] | None = None,
                 relation_epsilon_m: float = RELATION_EPSILON_UNITS) -> None:
        """
        Args:
            camera_position_m: (3,) centre of the camera in the scene's frame; None: questions about it are refused.
            relation_epsilon_m: offset from which on a relation holds; see `scene.relations`.
        """
        self.scene = scene
        self._relation_epsilon_m = relation_epsilon_m
        self._known: dict[int, tuple[Program, Result]] = {}
        self._everything = _Objects(range(len(scene)))
        self._points = {i: tuple(map(float, o.position_m)) for i, o in enumerate(scene.objects)}
        if camera_position_m is not None:
            self._points[_CAMERA] = tuple(map(float, camera_position_m))

    @property
    def knows_camera(self) -> bool:
        return _CAMERA in self._points

    def run(self, program: Program) -> Answer:
        """The answer to a question's program; it has a `refusal` where a premise fails.

        Raises SceneError where the program has relations and the scene is not in the support-plane frame, ProgramError
        for an edit.
        """
        if program.type == "edit":
            raise ProgramError(f"expected a question's program, got {program.function}; see `edits.apply_edit`")
        trace: list[str] = []
        try:
            return answer_of(program, self._evaluate(program, trace), self.scene, tuple(trace))
        except PremiseError as error:
            return refusal_of(program, error, self.scene, tuple(trace))

    def evaluate(self, program: Program) -> Any:
        """The bare value: a frozenset of indices, an index, a number, a bool, a word, metres. Raises PremiseError."""
        return self._evaluate(program, None).content

    def distance_m(self, first: int, second: int) -> float:
        """Between two points as `evaluate` gives them. Raises PremiseError where the camera is needed and not known."""
        return math.dist(self._point(first), self._point(second))

    def _evaluate(self, program: Program, trace: list[str] | None) -> Result:
        """Remembers what parts gave, since a generator tries many programs with the same parts; a trace needs all."""
        if trace is None and id(program) in self._known:
            return self._known[id(program)][1]
        inputs = [self._evaluate(part, trace) for part in program.inputs]
        operation = program.row.operation
        content = _OPERATIONS[operation](self, program, *(part.content for part in inputs))
        references = _Objects().union(*(part.references for part in inputs))
        if program.type == "object":
            references |= {content}
        elif operation == "count":
            references |= inputs[0].content
        if trace is not None:
            trace.append(result_in_words(program, content, self.scene))
        result = Result(content, references, inputs[0].content if operation == "exist" else _Objects())
        self._known[id(program)] = program, result  # with the program, so that its identity stays its own
        return result

    # Sets of objects.

    @cached_property
    def _related(self) -> dict[tuple[str, int], _Objects]:
        """What stands so of an object."""
        found: dict[tuple[str, int], set[int]] = {}
        for relation in relations_of(self.scene, self._relation_epsilon_m):
            found.setdefault((relation.predicate, relation.object), set()).add(relation.subject)
        return {key: _Objects(subjects) for key, subjects in found.items()}

    @cached_property
    def _having(self) -> dict[tuple[str, str], _Objects]:
        """What has a value of an attribute."""
        return {(name, value): _Objects(i for i in self._everything if self._attribute(i, name) == value)
                for name, values in ATTRIBUTES.items() for value in values}

    def _attribute(self, index: int, name: str) -> str | None:
        return self.scene.objects[index].attributes.get(name)

    def _scene(self, program: Program) -> _Objects:
        return self._everything

    def _filter(self, program: Program, objects: _Objects) -> _Objects:
        return objects & self._having[program.row.attribute, program.values[0]]

    def _relate(self, program: Program, index: int) -> _Objects:
        return self._related.get((program.values[0], index), _Objects())

    def _same(self, program: Program, index: int) -> _Objects:
        name = program.row.attribute
        value = self._attribute(index, name)  # which may be none of the language's
        alike = (i for i in self._everything if value is not None and self._attribute(i, name) == value)
        return _Objects(alike) - {index}

    def _union(self, program: Program, first: _Objects, second: _Objects) -> _Objects:
        return first | second

    def _intersect(self, program: Program, first: _Objects, second: _Objects) -> _Objects:
        return first & second

    def _between(self, program: Program, first: int, second: int) -> _Objects:
        (ax, ay, _), (bx, by, _) = self._point(first), self._point(second)
        found = set()
        for index in self._everything - {first, second}:
            x, y, _ = self._points[index]
            to_first, to_second = (ax - x, ay - y), (bx - x, by - y)
            scale = math.hypot(*to_first) * math.hypot(*to_second)
            if scale and to_first[0] * to_second[0] + to_first[1] * to_second[1] <= math.cos(BETWEEN_ANGLE) * scale:
                found.add(index)
        return _Objects(found)

    def _within(self, program: Program, point: int) -> _Objects:
        return _Objects(i for i in self._everything - {point} if self.distance_m(i, point) <= program.values[0])

    # One object.

    def _unique(self, program: Program, objects: _Objects) -> int:
        if len(objects) == 1:
            return next(iter(objects))
        words = Speaker().noun(program.inputs[0], plural=len(objects) > 1)
        if not objects:
            raise PremiseError("none", f"there is no {words}")
        raise PremiseError("several", f"there are {len(objects)} {words}, and which one is meant is not clear", objects)

    def _nearest(self, program: Program, point: int, objects: _Objects) -> int:
        return self._extreme(program, objects - {point}, lambda i: self.distance_m(i, point))

    def _farthest(self, program: Program, point: int, objects: _Objects) -> int:
        return self._extreme(program, objects - {point}, lambda i: -self.distance_m(i, point))

    def _largest(self, program: Program, objects: _Objects) -> int:
        return self._extreme(program, objects, lambda i: -max(self._extent(program, i)))

    def _smallest(self, program: Program, objects: _Objects) -> int:
        return self._extreme(program, objects, lambda i: max(self._extent(program, i)))

    def _extreme(self, program: Program, objects: _Objects, measure: Callable[[int], float]) -> int:
        """The object of least measure, in metres."""
        if not objects:
            raise PremiseError("none", f"there is no {Speaker().noun(program.inputs[-1], plural=False)} to choose from")
        measures = {index: measure(index) for index in objects}
        best = min(measures.values())
        tied = _Objects(index for index, value in measures.items() if value <= best + TIE_M)
        if len(tied) > 1:
            raise PremiseError("several", f"{len(tied)} {Speaker().noun(program.inputs[-1], plural=True)} are equally "
                               f"{_EXTREMES[program.function]}", tied)
        return next(iter(tied))

    # Values.

    def _camera(self, program: Program) -> int:
        return _CAMERA

    def _count(self, program: Program, objects: _Objects) -> int:
        return len(objects)

    def _exist(self, program: Program, objects: _Objects) -> bool:
        return bool(objects)

    def _query(self, program: Program, index: int) -> str:
        value = self._attribute(index, program.row.attribute)
        if value is None:
            raise PremiseError("unmeasured", f"the {program.row.attribute} of the object is not known", {index})
        return value

    def _equal(self, program: Program, first: Any, second: Any) -> bool:
        return first == second

    def _less_than(self, program: Program, first: int, second: int) -> bool:
        return first < second

    def _greater_than(self, program: Program, first: int, second: int) -> bool:
        return first > second

    def _locate(self, program: Program, index: int) -> tuple[float, ...]:
        return self._points[index]

    def _distance(self, program: Program, first: int, second: int) -> float:
        return self.distance_m(first, second)

    def _extent(self, program: Program, index: int) -> tuple[float, ...]:
        size = self.scene.objects[index].size_m
        if size is None:
            raise PremiseError("unmeasured", "the extents of the object are not known", {index})
        return tuple(map(float, size))

    def _unknown(self, program: Program) -> None:
        raise PremiseError("unknown", "this is not a question about the objects of the scene that can be answered here")

    def _point(self, index: int) -> tuple[float, ...]:
        if index not in self._points:
            raise PremiseError("no_camera", "the position of the camera is not known")
        return self._points[index]


_EXTREMES = {"nearest": "near", "farthest": "far", "largest": "large", "smallest": "small"}
#: What runs each operation of the function table; edits are `edits`' to run.
_OPERATIONS: dict[str, Callable[..., Any]] = {
    f.operation: getattr(Executor, f"_{f.operation}") for f in FUNCTIONS.values() if f.output != "edit"}
