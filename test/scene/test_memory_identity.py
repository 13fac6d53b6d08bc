"""The memory's names: kept through noise, wrong words, looking away and moves; new for what is new."""

from __future__ import annotations

import numpy as np
import pytest
from memory_world import AWAY, FRONT, MAP, PERIOD_NS, World, looking_from, thing

from kyvo_ros.scene import Scene
from kyvo_ros.scene.memory import MemoryConfig, SceneMemory


def test_an_object_enters_after_enough_sightings_and_says_so_once() -> None:
    world = World(confirm_sightings=3)
    assert not world.show(thing(), frames=2).changed and world.ids() == []
    assert world.show(thing()).added == ("object_0",)
    assert world.ids() == ["object_0"]
    assert not world.show(thing(), frames=5).changed


def test_more_sightings_can_be_asked_for() -> None:
    world = World(confirm_sightings=5)
    world.show(thing(), frames=4)
    assert world.ids() == []
    world.show(thing())
    assert world.ids() == ["object_0"]


def test_unsure_sightings_count_less() -> None:
    world = World()
    world.show(thing(confidence=0.6), frames=4)
    assert world.ids() == []
    world.show(thing(confidence=0.6), frames=6)
    assert world.ids() == ["object_0"]


def test_a_frame_hears_the_names_of_its_objects_in_its_order() -> None:
    world = World()
    red, blue = thing("red", -1.0), thing("blue", 1.0)
    assert world.show(red, blue).ids == ("object_0", "object_1")
    assert world.show(blue, red).ids == ("object_1", "object_0")


def test_one_wrong_word_is_no_new_object_and_is_outvoted() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    assert world.show(thing("blue")).ids == ("object_0",)
    assert world.memory.snapshot().objects[0].object.label == "small red rubber sphere"
    fusion = world.show(thing("blue"), frames=1)
    for _ in range(8):
        fusion = world.show(thing("blue")) if not fusion.relabelled else fusion
    assert fusion.relabelled == ("object_0",) and list(world.by_color()) == ["blue"]


def test_a_wrong_size_word_brings_a_wrong_height_and_is_still_the_same_object() -> None:
    world = World(position_sigma_m=0.02, calibration_sigma_m=0.02)
    world.show(thing(), frames=5)
    assert world.show(thing(size="large", extent=1.4)).ids == ("object_0",)
    known = world.memory.snapshot().objects[0].object
    assert known.size_m == pytest.approx([0.7] * 3)
    assert known.position_m[2] == pytest.approx(0.35, abs=0.05)


def test_another_thing_in_the_same_place_is_another_object() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    other = thing("blue", shape="cube", size="large")
    assert world.show(other).ids == ("object_1",)
    world.show(other, frames=15)
    assert world.ids() == ["object_1"]


def test_two_alike_side_by_side_never_swap() -> None:
    world, rng = World(), np.random.default_rng(4)
    pair = [thing(x=-0.4), thing(x=0.4)]
    names = {world.shake(pair, rng).ids for _ in range(200)}
    assert names == {("object_0", "object_1")}


def test_a_false_sighting_beside_a_missed_object_does_not_push_the_names_along() -> None:
    world = World()
    world.show(thing(x=0.0), thing(x=0.45), frames=5)  # nearer than 0.7 m balls can be
    assert world.show(thing(x=0.0), thing(x=-0.35)).ids[0] == "object_0"


def test_static_objects_survive_looking_away() -> None:
    world = World()
    world.show(thing("red", -1.0), thing("blue", 1.0), frames=5)
    before = [k.object.confidence for k in world.memory.snapshot().objects]
    world.show(frames=500, viewpoint=AWAY)
    assert [k.object.confidence for k in world.memory.snapshot().objects] == before
    side = looking_from(-6.0, 0.0, 4.0)
    assert world.show(thing("blue", 1.2), thing("red", -1.0), viewpoint=side).ids == ("object_1", "object_0")


def test_a_place_gets_a_little_less_certain_unseen_and_then_no_more() -> None:
    world, sigmas = World(), []
    world.show(thing(), frames=20)
    for unseen_s in (0, 30, 36_000, 360_000):
        world.stamp_ns += unseen_s * 10**9
        world.show(viewpoint=AWAY)
        sigmas.append(np.sqrt(world.memory.snapshot().objects[0].object.position_covariance_m2[0, 0]))
    assert sigmas[0] < sigmas[1] < sigmas[2] == sigmas[3] < 0.1


def test_what_is_gone_leaves_the_graph_and_a_new_one_elsewhere_has_a_new_name() -> None:
    world = World(move_radius_m=1.0)
    world.show(thing("red"), frames=5)
    assert world.show(frames=2).removed == () and world.ids() == ["object_0"]
    removed = [world.show().removed for _ in range(8)]
    assert ("object_0",) in removed and world.ids() == []
    world.show(thing("red", 2.0), frames=3)
    assert world.ids() == ["object_1"]


def test_the_expected_recall_says_how_many_misses_it_takes() -> None:
    patient, hasty = World(expected_recall=0.3), World(expected_recall=0.9)
    for world in (patient, hasty):
        world.show(thing(), frames=5)
        world.show(frames=5)
    assert patient.ids() == ["object_0"] and hasty.ids() == []


def test_a_moved_object_keeps_its_name() -> None:
    world = World()
    world.show(thing("red"), thing("blue", 1.5), frames=5)
    world.show(thing("red", -1.2), thing("blue", 1.5), frames=2)
    fusion = world.show(thing("red", -1.2), thing("blue", 1.5))
    assert fusion.moved == ("object_0",) and fusion.ids == ("object_0", "object_1")
    known = world.memory.snapshot().objects[0]
    assert known.moves == 1 and known.object.position_m == pytest.approx([-1.2, 0.0, 0.35], abs=0.1)


def test_an_object_put_right_before_its_old_place_has_moved() -> None:
    world = World()
    low = looking_from(0.0, -6.0, 0.35, target=(0.0, 0.0, 0.35))
    world.show(thing("red", 0.0, 1.0), frames=5, viewpoint=low)
    world.show(thing("red", 0.0, -0.5), frames=3, viewpoint=low)
    assert world.show(thing("red", 0.0, -0.5), viewpoint=low).ids == ("object_0",) and world.ids() == ["object_0"]


def test_an_object_moved_unseen_gets_a_new_name_once_and_then_keeps_it() -> None:
    world = World()
    elsewhere = looking_from(0.5, -3.0, 2.0, target=(2.5, 0.5, 0.0))
    world.show(thing("red", -0.7), frames=5)
    world.show(thing("red", 0.9), frames=5, viewpoint=elsewhere)
    world.show(thing("red", 0.9), frames=10)
    assert world.ids() == ["object_1"]
    world.show(thing("red", -0.5), frames=5)  # back where object_0 was lost: object_1 is missing, object_0 explained
    assert world.ids() == ["object_1"]


def test_a_lost_object_that_turns_up_again_has_its_name_for_a_while() -> None:
    for unseen_frames, expected in ((100, ["object_0"]), (700, ["object_1"])):
        world = World()
        world.show(thing(), frames=5)
        world.show(frames=unseen_frames)
        world.show(thing(x=0.3), frames=3)
        assert world.ids() == expected


def test_a_move_has_a_radius() -> None:
    world = World(move_radius_m=1.0)
    world.show(thing("red"), frames=5)
    world.show(thing("red", -1.2), frames=3)
    assert "object_0" not in {world.show(thing("red", -1.2)).ids}
    assert world.by_color()["red"] == "object_1"


def test_a_second_of_the_same_kind_is_no_move() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    world.show(thing("red"), thing("red", 1.0), frames=5)
    assert world.ids() == ["object_0", "object_1"]


def test_what_was_seen_beside_an_object_is_not_that_object_moved() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    world.show(thing("red"), thing("red", 1.0))
    assert world.show(thing("red", 1.0), frames=3).ids == ("object_1",)


def test_a_second_of_the_same_kind_while_the_first_is_out_of_sight_is_no_move() -> None:
    world = World()
    world.show(thing("red", -1.0), frames=5)
    elsewhere = looking_from(0.5, -3.0, 2.0, target=(2.5, 0.5, 0.0))
    world.show(thing("red", 0.9), frames=5, viewpoint=elsewhere)
    assert world.show(thing("red", -1.0), thing("red", 0.9)).ids == ("object_0", "object_1")


def test_a_nudged_object_is_followed() -> None:
    world = World()
    world.show(thing("red"), frames=50)
    fusions = [world.show(thing("red", 0.25)) for _ in range(10)]
    assert {f.ids for f in fusions} == {("object_0",)} and any(f.moved for f in fusions)
    assert world.memory.snapshot().objects[0].object.position_m[0] == pytest.approx(0.25, abs=0.05)


def test_names_are_never_used_again() -> None:
    world = World()
    world.show(thing(), frames=3)
    world.memory.reset()
    assert world.ids() == [] and world.show(thing(), frames=3).added == ("object_1",)
    assert world.memory.forget("object_1") and not world.memory.forget("object_1")
    assert world.show(thing(), frames=3).added == ("object_2",)


def test_memory_is_bounded_and_keeps_what_was_confirmed() -> None:
    world = World(max_objects=3)
    world.show(thing("red"), thing("blue", 1.5), frames=5)
    crowd = [thing("green", -3 + 0.5 * i, 3.0) for i in range(10)]
    world.show(thing("red"), thing("blue", 1.5), *crowd)
    assert len(world.memory.state().tracks) == 3 and world.ids() == ["object_0", "object_1"]


def test_of_too_many_sightings_the_most_confident_count() -> None:
    world = World(max_objects=1)
    assert world.show(thing("red", confidence=0.7), thing("blue", 2.0)).ids == ("", "object_0")


def test_objects_can_be_forgotten_by_age() -> None:
    for forget_after_s, expected in ((2.0, []), (None, ["object_0"])):
        world = World(forget_after_s=forget_after_s)
        world.show(thing(), frames=5)
        world.show(frames=30, viewpoint=AWAY)
        assert world.ids() == expected


def test_a_candidate_that_is_not_seen_again_is_forgotten() -> None:
    world = World()
    world.show(thing())
    world.show(frames=2)
    assert world.memory.state().tracks == []
    world.show(thing())
    world.show(frames=101, viewpoint=AWAY)
    assert world.memory.state().tracks == []


def test_false_sightings_behind_an_object_do_not_add_up() -> None:
    world = World()
    low = looking_from(0.0, -6.0, 0.35, target=(0.0, 0.0, 0.35))
    front, ghost = thing("red", 0.0, -2.0, extent=1.0), thing("blue", 0.0, 1.0)
    for _ in range(10):
        world.show(front, ghost, viewpoint=low)
        world.show(front, frames=8, viewpoint=low)
    assert world.by_color().keys() == {"red"}


def test_nothing_new_stands_in_an_object_that_is_seen() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    world.show(thing("red"), thing("blue", 0.2, shape="cube", size="large"), frames=10)
    assert world.by_color().keys() == {"red"}


def test_lengths_scale_with_the_objects() -> None:
    config = MemoryConfig().scaled(0.1)
    assert config.move_radius_m == pytest.approx(0.2) and config.plane_height_m == 0.0
    memory = SceneMemory("map", config)
    assert memory.config.near_gap_m == pytest.approx(0.03)


def test_the_assumed_noise_widens_the_gate_and_so_does_the_calibrations() -> None:
    for settings in ({"position_sigma_m": 0.4}, {"calibration_sigma_m": 0.4}):
        narrow, wide = World(), World(**settings)
        for world in (narrow, wide):
            world.show(thing(), frames=5)
        assert narrow.show(thing(x=1.0)).ids == ("object_1",) and wide.show(thing(x=1.0)).ids == ("object_0",)


def test_a_camera_whose_clock_is_ahead_keeps_no_object_of_another_out() -> None:
    world = World()
    world.memory.fuse(Scene([thing("red")], MAP), FRONT, 100 * 10**9, "ahead")
    world.show(thing("red"), thing("blue", 2.0), frames=10)
    assert set(world.by_color()) == {"red", "blue"}


def test_after_a_jump_back_in_time_an_object_elsewhere_keeps_its_name() -> None:
    world = World()
    world.show(thing("red"), frames=5)
    name, = world.ids()
    world.stamp_ns = 0
    world.memory.rewind(PERIOD_NS)  # the stamp of the first frame that comes then
    world.show(thing("red", 1.5), frames=30)
    assert world.ids() == [name]
