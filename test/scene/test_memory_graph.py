"""The graph of the memory: relations with hysteresis, snapshots and queries, and input that it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from memory_world import FRONT, LENS, MAP, PERIOD_NS, World, looking_from, thing

from kyvo_ros.scene import PLANE_FRAME, Scene, SceneError, SceneObject, view_from_pose
from kyvo_ros.scene.memory import (
    NEAR, ON, SUPPORT_PLANE_ID, MemoryInputError, MemoryTimeError, NamedRelation, Query, SceneMemory, Viewpoint)


def _held(world: World, predicate: str) -> set[tuple[str, str]]:
    return {(r.subject_id, r.object_id) for r in world.memory.snapshot().relations if r.predicate == predicate}


def test_relations_by_a_hand_worked_example() -> None:
    world = World()
    world.show(thing("red", 0.0, 0.0), thing("blue", 1.0, 0.0), thing("green", 1.0, 2.0), frames=3)
    red, blue, green = "object_0", "object_1", "object_2"
    assert _held(world, "left") == {(red, blue), (red, green)}
    assert _held(world, "right") == {(blue, red), (green, red)}
    assert _held(world, "behind") == {(green, red), (green, blue)}
    assert _held(world, "front") == {(red, green), (blue, green)}
    assert _held(world, NEAR) == set()  # the gap of 0.3 does not begin
    assert _held(world, ON) == {(name, SUPPORT_PLANE_ID) for name in (red, blue, green)}


def test_relations_turn_with_the_camera_or_stay_with_the_frame() -> None:
    other_side = looking_from(0.0, 6.0, 4.0)
    for viewpoint, left, behind in (("camera", {("object_1", "object_0")}, -math.pi / 2),
                                    ("frame", {("object_0", "object_1")}, math.pi / 2)):
        world = World(viewpoint=viewpoint)
        world.show(thing("red", -1.0), thing("blue", 1.0), frames=3, viewpoint=other_side)
        snapshot = world.memory.snapshot()
        assert _held(world, "left") == left
        assert snapshot.viewpoint == viewpoint and snapshot.behind_rad == pytest.approx(behind)


def test_near_has_a_gap_and_on_needs_a_plane() -> None:
    pair = (thing("red", 0.0), thing("blue", 1.1))  # a gap of 0.4
    for gap, expected in ((0.3, set()), (0.8, {("object_0", "object_1"), ("object_1", "object_0")})):
        world = World(near_gap_m=gap)
        world.show(*pair, frames=3)
        assert _held(world, NEAR) == expected
    for height, expected in ((None, set()), (0.5, set()), (0.05, {("object_0", SUPPORT_PLANE_ID)})):
        world = World(plane_height_m=height)
        world.show(thing(), frames=3)
        assert _held(world, ON) == expected


def test_the_margin_of_directions_can_be_set() -> None:
    pair = (thing("red", 0.0, -1.0), thing("blue", 0.4, 1.0))
    for margin, count in ((0.2, 1), (0.5, 0)):
        world = World(relation_margin_m=margin)
        world.show(*pair, frames=3)
        assert len(_held(world, "left")) == count


def test_relations_at_their_threshold_do_not_flicker() -> None:
    world, rng = World(), np.random.default_rng(0)
    pair = [thing("red", 0.0, -1.0), thing("blue", 0.2, 1.0)]  # just at the margin of left
    for _ in range(20):
        world.shake(pair, rng)
    assert sum(world.shake(pair, rng).relations_changed for _ in range(300)) <= 2


def test_a_relation_begins_inside_its_threshold_and_ends_outside() -> None:
    held = []
    world = World(position_sigma_m=0.01, calibration_sigma_m=0.01)
    for x in (0.20, 0.24, 0.26, 0.20, 0.16, 0.14):
        world.show(thing("red", 0.0, -1.0), thing("blue", x, 1.0), frames=60)
        held.append(bool(_held(world, "left")))
    assert held == [False, False, True, True, True, False]


def test_a_snapshot_does_not_change() -> None:
    world = World()
    world.show(thing(shape="cube", yaw=0.2), thing("blue", 1.0), frames=3)
    snapshot = world.memory.snapshot()
    item = snapshot.objects[0].object
    before = item.position_m.copy()
    world.show(thing(x=0.2), frames=10)
    assert (item.position_m == before).all() and len(snapshot.objects) == 2
    for array in (item.position_m, item.size_m, item.position_covariance_m2):
        with pytest.raises(ValueError, match="read-only"):
            array += 1.0
    scene = snapshot.scene()
    assert scene.frame_id == MAP and scene.stamp_ns == 3 * PERIOD_NS and [o.id for o in scene.objects] == [
        "object_0", "object_1"]


def test_a_known_object_tells_its_history() -> None:
    world = World()
    world.show(thing(), frames=4)
    world.show(frames=2)
    known = world.memory.snapshot().objects[0]
    assert (known.first_seen_ns, known.last_seen_ns, known.sightings) == (PERIOD_NS, 4 * PERIOD_NS, 4)
    assert 0.9 < known.object.confidence < 1.0
    assert all(p > 0.95 for p in known.object.attribute_confidence.values())


def test_the_revision_grows_with_every_change_and_only_then() -> None:
    world = World()
    revisions = [(world.show(thing()).changed, world.memory.snapshot().revision) for _ in range(6)]
    assert revisions == [(False, 0), (False, 0), (True, 1), (False, 1), (False, 1), (False, 1)]
    world.memory.forget("object_0")
    assert world.memory.snapshot().revision == 2


def test_queries() -> None:
    world = World()
    world.show(thing("red", -1.0), thing("red", 1.0, shape="cube"), thing("blue", 0.0, 2.0), frames=3)
    world.show(thing("red", -1.0), thing("blue", 0.0, 2.0), frames=3)
    snapshot = world.memory.snapshot()

    def asked(now_ns: int | None = None, **conditions: object) -> list[str]:
        return [k.id for k in snapshot.select(Query(**conditions), now_ns).objects]
    assert asked() == ["object_0", "object_1", "object_2"]
    assert asked(attributes={"color": "red"}) == ["object_0", "object_1"]
    assert asked(attributes={"color": "red", "shape": "cube"}) == ["object_1"]
    assert asked(attributes={"weight": "heavy"}) == []
    assert asked(region_m=((-2, -1, 0), (0.5, 1, 1))) == ["object_0"]
    assert asked(max_age_s=0.2) == ["object_0", "object_2"]
    assert asked(max_age_s=0.2, now_ns=10**10) == []
    assert asked(min_probability=0.99) == ["object_0", "object_2"]
    part = snapshot.select(Query(attributes={"color": "red"}))
    assert part.relations and all("object_2" not in (r.subject_id, r.object_id) for r in part.relations)
    assert NamedRelation("object_0", "left", "object_1") in part.relations
    for region in (((0, 0, 0), (-1, 1, 1)), ((0, 0), (1, 1)), ((0, 0, math.nan), (1, 1, 1))):
        with pytest.raises(MemoryInputError, match="region"):
            Query(region_m=region)


def test_time_may_stand_still_or_go_back_between_cameras_but_not_within_one() -> None:
    memory = SceneMemory(MAP)
    scene = Scene([thing()], MAP)
    assert memory.fuse(scene, FRONT, 1000, "left").ids == ("object_0",)
    again = memory.fuse(scene, FRONT, 1000, "left")
    assert again.duplicate and again.ids == ("",) and not again.changed
    assert memory.fuse(scene, FRONT, 1000, "right").ids == ("object_0",)
    assert memory.fuse(scene, FRONT, 900, "third").added == ("object_0",)
    known = memory.snapshot().objects[0]
    assert known.sightings == 3 and (known.first_seen_ns, known.last_seen_ns) == (900, 1000)
    assert memory.snapshot().stamp_ns == 1000
    with pytest.raises(MemoryTimeError, match="camera 'left' went back.*rewind.*reset"):
        memory.fuse(scene, FRONT, 999, "left")
    assert memory.snapshot().objects[0].sightings == 3
    memory.rewind(500)
    assert memory.fuse(scene, FRONT, 500, "left").ids == ("object_0",)
    known = memory.snapshot().objects[0]
    assert (known.first_seen_ns, known.last_seen_ns) == (499, 500), "known from before"
    assert memory.snapshot().stamp_ns == 500


def test_cameras_that_come_and_go_do_not_fill_the_memory() -> None:
    memory = SceneMemory(MAP)
    for i in range(200):
        memory.fuse(Scene((), MAP), None, 0, f"camera_{i}")
    assert len(memory._source_stamps_ns) <= 64


def test_two_cameras_over_one_plane_make_one_graph() -> None:
    """From the support-plane frames of recognition, as a node does it."""
    truth = Scene([thing("red", -1.0, shape="cube", yaw=0.3), thing("blue", 1.0, 0.5)], MAP)
    memory = SceneMemory(MAP)
    for i in range(6):
        camera = looking_from(0.0, -6.0, 4.0) if i % 2 else looking_from(5.0, 3.0, 4.0)
        view = view_from_pose(LENS, camera.frame_T_optical)
        recognised = truth.transformed(view.world_T_plane.inverse(), PLANE_FRAME)
        memory.fuse(recognised.transformed(view.world_T_plane, MAP), Viewpoint.of(view, view.world_T_plane), i * 10**8,
                    f"camera_{i % 2}")
    snapshot = memory.snapshot()
    assert [k.sightings for k in snapshot.objects] == [6, 6]
    assert snapshot.scene().positions_m() == pytest.approx(truth.positions_m(), abs=1e-9)
    assert snapshot.objects[0].object.yaw_rad == pytest.approx(0.3)


def test_empty_scenes_are_frames_too() -> None:
    memory = SceneMemory(MAP)
    assert memory.snapshot().stamp_ns is None and len(memory) == 0
    fusion = memory.fuse(Scene((), MAP), FRONT, 7)
    assert fusion.ids == () and not fusion.changed and memory.snapshot().stamp_ns == 7


BAD_OBJECTS = {
    "far": thing(x=1e7),
    "size": SceneObject({}, [0, 0, 0], size_m=[1, -1, 1]),
    "probability": SceneObject({"color": "red"}, [0, 0, 0], attribute_confidence={"color": math.nan}),
    "asymmetric": SceneObject({}, [0, 0, 0], position_covariance_m2=np.triu(np.ones((3, 3)))),
    "negative": SceneObject({}, [0, 0, 0], position_covariance_m2=-np.eye(3)),
    "huge": SceneObject({}, [0, 0, 0], position_covariance_m2=1e300 * np.eye(3)),
}


@pytest.mark.parametrize("bad", BAD_OBJECTS)
def test_impossible_numbers_are_refused_and_change_nothing(bad: str) -> None:
    world = World()
    world.show(thing(), frames=3)
    with pytest.raises(MemoryInputError):
        world.show(thing(), BAD_OBJECTS[bad])
    assert world.memory.snapshot().objects[0].sightings == 3 and len(world.memory.state().tracks) == 1
    world.stamp_ns -= PERIOD_NS  # the refused frame's stamp is free
    assert world.show(thing()).ids == ("object_0",)


def test_a_viewpoint_that_cannot_be_used_is_refused_and_changes_nothing() -> None:
    world = World()
    world.show(thing(), frames=3)
    lens = replace(LENS, distortion=(0.1, 0.2, 0.3), distortion_model="plumb_bob")
    with pytest.raises(MemoryInputError, match="lens"):
        world.show(viewpoint=replace(FRONT, intrinsics=lens))
    assert world.memory.state().tracks[0].misses == 0
    with pytest.raises(MemoryInputError, match="range"):
        replace(FRONT, range_m=math.nan)


def test_numbers_spoiled_after_their_check_are_refused() -> None:
    spoiled = thing()
    spoiled.position_m[0] = math.nan
    with pytest.raises(MemoryInputError, match="positions"):
        SceneMemory(MAP).fuse(Scene([spoiled], MAP), FRONT, 0)


@pytest.mark.parametrize("stamp", [-1, 1.5, math.nan, None, True, "0"])
def test_stamps_are_whole_nanoseconds(stamp: object) -> None:
    with pytest.raises(MemoryInputError, match="stamp"):
        SceneMemory(MAP).fuse(Scene((), MAP), FRONT, stamp)


def test_frames_have_names_and_do_not_mix() -> None:
    with pytest.raises(MemoryInputError, match="memory's frame map, got one in odom"):
        SceneMemory(MAP).fuse(Scene((), "odom"), FRONT, 0)
    with pytest.raises(SceneError, match="name its frame"):
        SceneMemory("")


def test_objects_without_words_size_and_covariance_are_remembered_too() -> None:
    world = World()
    world.show(SceneObject({}, [0, 0, 0.1]), frames=4)
    known = world.memory.snapshot().objects[0]
    assert known.object.label == "" and known.object.size_m is None and not world.memory.snapshot().relations
    world.show(frames=20)
    assert world.ids() == []


def test_random_scenes_never_break_it() -> None:
    rng = np.random.default_rng(5)
    world = World(max_objects=8)
    for _ in range(150):
        things = [SceneObject({str(rng.integers(3)): str(rng.integers(3))},
                              rng.normal(0, 10.0 ** rng.integers(-3, 5), 3),
                              float(rng.normal(0, 100)) if rng.random() < 0.5 else None,
                              rng.uniform(0, 3, 3) if rng.random() < 0.5 else None, confidence=float(rng.random()))
                  for _ in range(rng.integers(12))]
        eye = rng.normal(0, 5, 3)
        world.show(*things, viewpoint=looking_from(*eye) if rng.random() < 0.8 else None)
        assert len(world.memory.state().tracks) <= 8
        assert all(np.isfinite(k.object.position_m).all() for k in world.memory.snapshot().objects)
