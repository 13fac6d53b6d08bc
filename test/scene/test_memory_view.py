"""What the node needs of a memory beside fusing: the recogniser's window, planes that lean, questions, drawings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from memory_world import FRONT, LENS, MAP, World, thing

from kyvo_ros.scene import (
    PLANE_FRAME, CameraView, PinholeCamera, PlaneCamera, RecognizedField, Transform, relations_of, view_from_pose)
from kyvo_ros.scene.memory import (
    NEAR, MemoryInputError, NamedRelation, Query, Viewpoint, essential_relations, upright)

#: Sees the middle of LENS's image: half of it in each direction.
NARROW = PinholeCamera(160, 120, 300.0, 300.0, 80.0, 60.0)


def _viewpoint(field: RecognizedField, unit_m: float = 1.0) -> Viewpoint:
    view = view_from_pose(LENS, FRONT.frame_T_optical)
    return Viewpoint.of(view, view.world_T_plane, field=field, unit_m=unit_m)


def test_what_the_recogniser_did_not_look_at_is_not_missed() -> None:
    aside = thing("blue", 2.5, 0.0)
    for viewpoint, kept in ((FRONT, {"red"}), (_viewpoint(RecognizedField(NARROW)), {"red", "blue"})):
        world = World()
        world.show(thing("red"), aside, frames=5)
        assert FRONT.sees(aside.position_m), "the image shows it in both cases"
        world.show(thing("red"), frames=20, viewpoint=viewpoint)
        assert world.by_color().keys() == kept


def test_the_window_is_the_level_image_and_the_image_together() -> None:
    turned = CameraView(LENS, PlaneCamera(7.0, 0.6), roll_rad=math.pi / 2)
    wide = PinholeCamera(640, 120, 300.0, 300.0, 320.0, 60.0)
    viewpoint = Viewpoint.of(turned, Transform.identity(), field=RecognizedField(wide))
    axis = viewpoint.frame_T_optical
    right, up = axis.rotation[:, 1], axis.rotation[:, 0]  # of the level camera: the image lies on its side
    middle = axis.apply([0.0, 0.0, 7.0])
    beside = np.array([middle, middle + 2.5 * right, middle + 3.5 * right])
    assert viewpoint.sees(beside).tolist() == [True, True, False]
    assert abs(right[2]) < 1e-9, "the image's y axis is level"
    assert viewpoint.sees(np.array([middle + 1.2 * up, middle + 1.6 * up])).tolist() == [True, False]


def test_the_reach_of_the_recogniser_grows_with_the_unit() -> None:
    field = RecognizedField(LENS, reach_units=2.0)
    view = view_from_pose(LENS, FRONT.frame_T_optical)
    inside, outside = (view.world_T_plane.apply([x, 0.0, 0.3]) for x in (1.9, 2.1))
    viewpoint = _viewpoint(field)
    assert viewpoint.sees(np.array([inside, outside])).tolist() == [True, False]
    assert _viewpoint(field, unit_m=1.1).sees(outside) and not _viewpoint(field, unit_m=0.9).sees(inside)


def test_a_plane_that_leans_a_little_is_put_upright() -> None:
    lean = Transform.from_quaternion(np.array([math.sin(0.04), 0.0, 0.0, math.cos(0.04)]), np.zeros(3))
    pose = Transform.from_yaw(0.7, np.array([1.0, 2.0, 0.5])) @ lean
    level = upright(pose, MAP)
    assert level.translation.tolist() == [1.0, 2.0, 0.5]
    assert np.allclose(level.matrix(), Transform.from_yaw(0.7, np.array([1.0, 2.0, 0.5])).matrix())


def test_a_plane_that_lies_otherwise_is_refused_with_its_frame() -> None:
    optical = FRONT.frame_T_optical.inverse()
    with pytest.raises(MemoryInputError, match="leans by .* degrees in frame 'camera'.*map or odom"):
        upright(optical, "camera")


def _table() -> World:
    world = World()
    world.show(thing("red", -1.5, shape="cube"), thing("blue", 0.0), thing("green", 1.5, 1.0), frames=4)
    return world


def test_words_of_a_class_are_looked_for_in_any_order() -> None:
    snapshot = _table().memory.snapshot()

    def colors(**conditions) -> list[str]:
        return [k.object.attributes["color"] for k in snapshot.select(Query(**conditions)).objects]
    assert colors(words=frozenset({"sphere"})) == ["blue", "green"]
    assert colors(words=frozenset({"cube", "red", "small"})) == ["red"]
    assert colors(words=frozenset({"cube", "blue"})) == [] and colors() == ["red", "blue", "green"]
    assert colors(words=frozenset({"sphere"}), attributes={"color": "green"}) == ["green"]


@pytest.mark.parametrize("conditions", [
    {"max_age_s": -1.0}, {"max_age_s": math.nan}, {"min_probability": 1.1}, {"min_probability": math.nan}])
def test_conditions_that_cannot_be_meant_are_named(conditions: dict) -> None:
    with pytest.raises(MemoryInputError, match=next(iter(conditions))):
        Query(**conditions)


@pytest.mark.parametrize("viewpoint", ["camera", "frame"])
def test_the_graph_as_its_viewpoint_sees_it_has_its_relations(viewpoint: str) -> None:
    turned = Viewpoint(LENS, Transform.from_yaw(1.0) @ FRONT.frame_T_optical)
    world = World(viewpoint=viewpoint)
    world.show(thing("red", -1.5), thing("blue", 0.4), thing("green", 1.5, 1.0), frames=4, viewpoint=turned)
    snapshot = world.memory.snapshot()
    scene, frame_T_plane = snapshot.seen_from_viewpoint(0.25)
    assert scene.frame_id == PLANE_FRAME and frame_T_plane.translation.tolist() == [0.0, 0.0, 0.25]
    assert np.allclose(frame_T_plane.apply(scene.positions_m()), snapshot.scene().positions_m())
    found = {(scene.objects[r.subject].id, r.predicate, scene.objects[r.object].id) for r in relations_of(scene)}
    known = {(r.subject_id, r.predicate, r.object_id) for r in snapshot.relations if r.predicate not in (NEAR, "on")}
    assert found == known and known
    assert snapshot.behind_rad == pytest.approx(math.pi / 2 + (1.0 if viewpoint == "camera" else 0.0))


def test_a_drawing_needs_neither_inverses_nor_what_follows() -> None:
    chain = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    relations = [NamedRelation(i, "left", j) for i, j in chain] + [NamedRelation(j, "right", i) for i, j in chain]
    relations += [NamedRelation("b", NEAR, "a"), NamedRelation("a", NEAR, "b"), NamedRelation("d", "behind", "a"),
                  NamedRelation("a", "front", "d"), NamedRelation("a", "on", "support_plane")]
    assert essential_relations(relations) == [
        NamedRelation("a", "left", "b"), NamedRelation("b", "left", "c"), NamedRelation("c", "left", "d"),
        NamedRelation("d", "behind", "a"), NamedRelation("a", NEAR, "b")]
    assert essential_relations([]) == []


@pytest.mark.parametrize("elevation_deg", [60, 75, 80])
@pytest.mark.parametrize("roll_deg", [0, 90, 180])
def test_behind_is_as_the_scene_has_it_whatever_the_roll(elevation_deg: float, roll_deg: float) -> None:
    view = CameraView(LENS, PlaneCamera(7.0, math.radians(elevation_deg)), math.radians(roll_deg))
    viewpoint = Viewpoint.of(view, Transform.from_yaw(0.3, np.zeros(3)))
    assert viewpoint.behind_rad() == pytest.approx(math.pi / 2 + 0.3)
