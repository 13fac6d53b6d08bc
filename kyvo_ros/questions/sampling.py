"""Random programs about a given scene whose premises hold, or, when asked for, fail.

A reference is built towards an object: attributes that tell it from the others, seen from nowhere (the whole scene) or
from other objects, up to a number of hops. It knows nothing of English or of balance (see `generator`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

from kyvo_ros.questions.answers import PremiseError
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES
from kyvo_ros.questions.program import Program, filtered
from kyvo_ros.scene import RELATIONS

_SCENE, _CAMERA = Program("scene"), Program("camera")

#: How far a radius may miss the distance of some object, and the radii that are asked for, in metres.
_RADIUS_MISS_M, _RADIUS_RANGE_M = 0.8, (0.5, 20.0)
#: What part of needless relations, of attributes that tell nothing, and of choices from one object is thrown away.
_SHARP = 0.7
#: How often a set of objects is one of two, or both of two; and an object the nearest, largest and so on.
_COMPOUND, _SUPERLATIVE = 0.15, 0.15
#: How often a point is the camera.
_FROM_CAMERA = 0.4


class SamplingError(ValueError):
    """This scene has no such program, or chance did not find it."""


class ProgramSampler:
    """Draws programs about one scene."""

    def __init__(self, executor: Executor, rng: random.Random, robot: bool = True) -> None:
        """
        Args:
            robot: False keeps to CLEVR's functions.
        """
        self._executor, self._rng, self._robot = executor, rng, robot
        self._objects = executor.scene.objects

    # Objects.

    def an_object(self, hops: int, hidden: Collection[str] = ()) -> Program:
        """Some object, described without the attributes `hidden`. Raises SamplingError."""
        if self._robot and self._rng.random() < _SUPERLATIVE:
            return self.superlative(hops, hidden)
        return self.reference(self._index(), hops, hidden)

    def reference(self, target: int, hops: int, hidden: Collection[str] = ()) -> Program:
        """The object of this index, by what tells it from the others. Raises SamplingError."""
        base = self._base_with(target, hops, hidden) if hops else _SCENE
        pairs = self._telling(target, self._executor.evaluate(base), hidden)
        if hops and len(self._executor.evaluate(filtered(_SCENE, pairs))) == 1 and self._rng.random() < _SHARP:
            raise SamplingError("the relation is not needed")
        return Program("unique", (filtered(base, pairs),))

    def superlative(self, hops: int, hidden: Collection[str] = ()) -> Program:
        """The nearest, farthest, largest or smallest of some. Raises SamplingError."""
        name = self._rng.choice(("nearest", "farthest", "nearest", "farthest", "largest", "smallest"))
        if name in ("largest", "smallest"):
            hidden = {*hidden, "size"}
        objects = self.some_objects(min(hops, 1) if self._rng.random() < 0.3 else 0, hidden)
        if len(self._executor.evaluate(objects)) < 2 and self._rng.random() < _SHARP:
            raise SamplingError("there is nothing to choose from")
        inputs = (self._point(), objects) if name in ("nearest", "farthest") else (objects,)
        return self._holding(Program(name, inputs))

    def broken_object(self, hops: int) -> Program:
        """A description that fits no object, or several. Raises SamplingError."""
        base = self._a_base(hops)
        pairs = self._pairs(self._rng.randint(1, 3), range(len(self._objects)), ())
        objects = filtered(base, pairs)
        if len(self._executor.evaluate(objects)) == 1:
            raise SamplingError("the premise holds")
        return Program("unique", (objects,))

    def _base_with(self, target: int, hops: int, hidden: Collection[str]) -> Program:
        """Objects in relation to another one, the target among them."""
        others = [i for i in range(len(self._objects)) if i != target]
        if not others:
            raise SamplingError("there is nothing to relate to")
        anchor = self.reference(self._rng.choice(others), hops - 1)
        bases = [base for base in self._bases(anchor, hidden) if target in self._executor.evaluate(base)]
        if not bases:
            raise SamplingError("no relation holds")
        return self._rng.choice(bases)

    def _telling(self, target: int, members: Collection[int], hidden: Collection[str]) -> list[tuple[str, str]]:
        """Attributes that leave only the target of the members, and now and then one more."""
        names = [name for name in ATTRIBUTES if name not in hidden]
        self._rng.shuffle(names)
        pairs, left = [], set(members)
        for name in names:
            value = self._objects[target].attributes[name]
            narrower = {i for i in left if self._objects[i].attributes[name] == value}
            if len(narrower) < len(left) or self._rng.random() > _SHARP:
                pairs.append((name, value))
            left = narrower
        if len(left) > 1:
            raise SamplingError("the object has a twin")
        return _in_order(pairs)

    # Sets of objects.

    def some_objects(self, hops: int, hidden: Collection[str] = ()) -> Program:
        """A set, possibly empty. Raises SamplingError."""
        if self._rng.random() < _COMPOUND and not hidden:
            return self._union() if self._rng.random() < 0.5 else self._intersection()
        base = self._a_base(hops, hidden)
        members = sorted(self._executor.evaluate(base))
        fewest = 0 if hops or self._rng.random() < 0.05 else 1
        count = self._rng.choices(range(fewest, 4), (3, 4, 3, 1)[fewest:])[0]
        likely = members if members and self._rng.random() < 0.6 else range(len(self._objects))
        return filtered(base, self._pairs(count, likely, hidden))

    def _union(self) -> Program:
        return Program("union", (self._simple_set(), self._simple_set()))

    def _simple_set(self) -> Program:
        base = self._a_base(1) if self._rng.random() < 0.25 else _SCENE
        return filtered(base, self._pairs(self._rng.randint(1, 2), range(len(self._objects)), ()))

    def _intersection(self) -> Program:
        both = Program("intersect", (self._a_base(1), self._a_base(1)))
        return filtered(both, self._pairs(self._rng.randint(0, 2), range(len(self._objects)), ()))

    def _a_base(self, hops: int, hidden: Collection[str] = ()) -> Program:
        """What filters start from."""
        if not hops:
            return _SCENE
        anchor = self.reference(self._index(), hops - 1)
        if not self._robot or self._rng.random() < 0.7:
            return self._rng.choice(self._bases(anchor, hidden))
        if self._rng.random() < 0.5:
            return Program("between", (anchor, self._point()))
        point = anchor if self._rng.random() < 0.6 else self._point()
        miss = self._rng.uniform(-_RADIUS_MISS_M, _RADIUS_MISS_M)
        radius = self._executor.distance_m(self._index(), self._executor.evaluate(point)) + miss
        low, high = _RADIUS_RANGE_M
        return Program("within", (point,), (round(min(max(radius, low), high), 1),))

    def _bases(self, anchor: Program, hidden: Collection[str]) -> list[Program]:
        """The sets of CLEVR that start from an object; relations twice as often as each likeness."""
        return [*(Program("relate", (anchor,), (relation,)) for relation in RELATIONS * 2),
                *(Program(f"same_{name}", (anchor,)) for name in ATTRIBUTES if name not in hidden)]

    def _pairs(self, count: int, likely: Collection[int], hidden: Collection[str]) -> list[tuple[str, str]]:
        """Values of at most so many attributes, mostly those of one of the `likely` objects."""
        names = [name for name in ATTRIBUTES if name not in hidden]
        names = self._rng.sample(names, min(count, len(names)))
        if not likely or self._rng.random() < 0.15:
            return _in_order([(name, self._rng.choice(ATTRIBUTES[name])) for name in names])
        attributes = self._objects[self._rng.choice(list(likely))].attributes
        return _in_order([(name, attributes[name]) for name in names])

    # Points.

    def point_pair(self, hops: int) -> tuple[Program, Program]:
        """Two different points, the first an object. Raises SamplingError."""
        first, second = self.an_object(hops), self._point()
        if self._executor.evaluate(first) == self._executor.evaluate(second):
            raise SamplingError("twice the same object")
        return first, second

    def _point(self) -> Program:
        if self._executor.knows_camera and self._rng.random() < _FROM_CAMERA:
            return _CAMERA
        return self.reference(self._index(), 0)

    def _index(self) -> int:
        if not self._objects:
            raise SamplingError("the scene is empty")
        return self._rng.randrange(len(self._objects))

    def _holding(self, program: Program) -> Program:
        """The program, if its premises hold."""
        try:
            self._executor.evaluate(program)
        except PremiseError as error:
            raise SamplingError(str(error)) from error
        return program


def _in_order(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(pairs, key=lambda pair: list(ATTRIBUTES).index(pair[0]))


def retried(draw: Callable[[], Program], tries: int) -> Program:
    """The first draw that succeeds. Raises SamplingError where none does."""
    for _ in range(tries - 1):
        try:
            return draw()
        except SamplingError:
            continue
    return draw()
