"""Edits of a scene: what an instruction does, and why it cannot be done.

An edit is a program of type edit, so that the objects it speaks of are described as in questions. Where something goes
is determined by the instruction: a distance along a direction as seen from the camera, between centres; or "directly"
next to an object, which leaves the least gap between the two bounding circles. What is new or becomes a cube has yaw 0,
and everything rests on the support plane. It knows nothing of pixels: whether an object is hidden is not checked here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kyvo_ros.questions.answers import PremiseError
from kyvo_ros.questions.execution import Executor
from kyvo_ros.questions.functions import ATTRIBUTES
from kyvo_ros.questions.program import Program, ProgramError
from kyvo_ros.scene import DIRECTIONS, PLANE_FRAME, RELATION_EPSILON_UNITS, Scene, SceneError, SceneObject

_TOLERANCE_M = 1e-6


#: Between the bounding circles of two objects, in model units: CLEVR's.
MIN_GAP_UNITS = 0.25


@dataclass(frozen=True)
class EditRules:
    """Where objects may stand, and what is known of their classes."""

    extents_m: Callable[[Mapping[str, str]], Sequence[float]]  # (3,) full extents, as SceneSchema.extents_m
    inside: Callable[[float, float], bool] = lambda x, y: True  # whether a centre may be there, in the scene's frame
    min_gap_m: float = MIN_GAP_UNITS  # between the bounding circles of two objects
    margin_m: float = 0.0  # between two centres to the right and behind, except next to an object on purpose
    max_objects: int = 10
    relation_epsilon_m: float = RELATION_EPSILON_UNITS  # of the relations that an instruction speaks of
    shapes_with_yaw: tuple[str, ...] = ("cube",)

    def __post_init__(self) -> None:
        if self.min_gap_m < 0 or self.margin_m < 0 or self.max_objects < 1:
            raise ValueError(f"expected gap and margin of at least 0 and room for objects, got {self}")

    def radius_m(self, thing: SceneObject) -> float:
        """Of the bounding circle on the plane."""
        x, y = (float(extent) / 2 for extent in self.extents_m(thing.attributes)[:2])
        return math.hypot(x, y) if thing.attributes["shape"] in self.shapes_with_yaw else max(x, y)


def apply_edit(program: Program, scene: Scene, rules: EditRules) -> Scene:
    """The scene after an edit; objects keep their order and ids, a new one comes last.

    Raises PremiseError where a description fits no object or several, or where there is no room (kinds "blocked",
    "outside", "full", "already"); ProgramError for a program that is no edit; SceneError for one in another frame.
    """
    if program.type != "edit":
        raise ProgramError(f"expected an edit, got {program.function}, which gives {program.type}")
    if scene.frame_id != PLANE_FRAME:
        raise SceneError(f"edits are seen from the camera: expected a scene in {PLANE_FRAME}, got {scene.frame_id}")
    executor = Executor(scene, relation_epsilon_m=rules.relation_epsilon_m)
    indices = [executor.evaluate(part) for part in program.inputs]
    return _EDITS[program.row.operation](program, scene, rules, *indices)


def _change(program: Program, scene: Scene, rules: EditRules, index: int) -> Scene:
    name, value = program.row.attribute, program.values[0]
    before = scene.objects[index]
    if before.attributes[name] == value:
        raise PremiseError("already", f"the {before.label} is {value} already", {index})
    changed = replace(before, attributes={**before.attributes, name: value}, attribute_confidence={}, depth_points=0)
    after = _remade(changed, rules) if name in ("size", "shape") else changed
    return _with(scene, index, after, rules)


def _remove(program: Program, scene: Scene, rules: EditRules, index: int) -> Scene:
    return replace(scene, objects=scene.objects[:index] + scene.objects[index + 1:])


def _move_by(program: Program, scene: Scene, rules: EditRules, index: int) -> Scene:
    relation, metres = program.values
    thing = scene.objects[index]
    return _with(scene, index, _placed(thing, thing, relation, metres), rules)


def _move_next(program: Program, scene: Scene, rules: EditRules, index: int, anchor: int) -> Scene:
    if index == anchor:
        raise PremiseError("blocked", "an object cannot be put next to itself", {index})
    thing, other = scene.objects[index], scene.objects[anchor]
    moved = _placed(thing, other, program.values[0], _next_to(thing, other, rules))
    return _with(scene, index, moved, rules, anchor)


def _insert_at(program: Program, scene: Scene, rules: EditRules, anchor: int) -> Scene:
    return _inserted(program, scene, rules, anchor, program.values[-2], program.values[-1])


def _insert_next(program: Program, scene: Scene, rules: EditRules, anchor: int) -> Scene:
    return _inserted(program, scene, rules, anchor, program.values[-1], None)


def _inserted(program: Program, scene: Scene, rules: EditRules, anchor: int, relation: str,
              metres: float | None) -> Scene:
    if len(scene) >= rules.max_objects:
        raise PremiseError("full", f"there are {len(scene)} objects already, and at most {rules.max_objects} may be")
    other = scene.objects[anchor]
    new = _remade(SceneObject(dict(zip(ATTRIBUTES, program.values)), other.position_m), rules)
    distance = _next_to(new, other, rules) if metres is None else metres
    new = _placed(new, other, relation, distance)
    return _with(replace(scene, objects=(*scene.objects, new)), len(scene), new, rules, anchor)


_EDITS: dict[str, Callable[..., Scene]] = {
    "change": _change, "remove": _remove, "move_by": _move_by, "move_next": _move_next, "insert_at": _insert_at,
    "insert_next": _insert_next}


def _remade(thing: SceneObject, rules: EditRules) -> SceneObject:
    """The object as its attributes have it: extents, height, whether it has a yaw, and no shape of its own."""
    extents = tuple(map(float, rules.extents_m(thing.attributes)))
    x, y, _ = thing.position_m
    yaw = (thing.yaw_rad or 0.0) if thing.attributes["shape"] in rules.shapes_with_yaw else None
    return replace(thing, position_m=(x, y, extents[2] / 2), size_m=extents, yaw_rad=yaw, depth_points=0,
                   shape_codes=None, mesh=None)


def _placed(thing: SceneObject, anchor: SceneObject, relation: str, metres: float) -> SceneObject:
    """The object at a distance from where the anchor's centre is, at its own height."""
    (dx, dy), (x, y, _) = DIRECTIONS[relation], anchor.position_m
    return replace(thing, position_m=(x + dx * metres, y + dy * metres, thing.position_m[2]),
                   depth_points=0)


def _next_to(thing: SceneObject, other: SceneObject, rules: EditRules) -> float:
    return rules.radius_m(thing) + rules.radius_m(other) + rules.min_gap_m


def _with(scene: Scene, index: int, thing: SceneObject, rules: EditRules, anchor: int | None = None) -> Scene:
    """The scene with a new object of this index, where there is room for it. Raises PremiseError."""
    x, y, _ = map(float, thing.position_m)
    if not rules.inside(x, y):
        raise PremiseError("outside", f"the {thing.label} would stand outside of the area, at x {x:.2f} m, y {y:.2f} m")
    for other_index, other in enumerate(scene.objects):
        if other_index == index:
            continue
        dx, dy = abs(float(other.position_m[0]) - x), abs(float(other.position_m[1]) - y)
        too_near = math.hypot(dx, dy) < _next_to(thing, other, rules) - _TOLERANCE_M
        if too_near or (other_index != anchor and min(dx, dy) < rules.margin_m - _TOLERANCE_M):
            raise PremiseError("blocked", f"the {other.label} is in the way of the {thing.label}", {other_index})
    return replace(scene, objects=(*scene.objects[:index], thing, *scene.objects[index + 1:]))
