"""The parts of the memory by themselves: beliefs, filters, visibility, settings."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from memory_world import AWAY, FRONT, LENS, World, looking_from, thing

from kyvo_ros.scene import CameraView, PlaneCamera, SceneObject, Transform, YawPeriods, view_from_pose
from kyvo_ros.scene.memory import MemoryConfig, MemoryConfigError, Viewpoint
from kyvo_ros.scene.memory.association import cheapest_pairs
from kyvo_ros.scene.memory.beliefs import DIFFERENCE_COST, MAX_EVIDENCE, AttributeBeliefs
from kyvo_ros.scene.memory.filters import PositionFilter, YawFilter
from kyvo_ros.scene.memory.visibility import visible_share


def test_evidence_adds_up_by_a_hand_worked_example() -> None:
    beliefs = AttributeBeliefs()
    beliefs.read({"color": "red"}, {"color": 0.8})
    assert beliefs.probabilities("color") == pytest.approx({"red": 0.8})
    beliefs.read({"color": "red"}, {"color": 0.8})
    beliefs.read({"color": "blue"}, {"color": 0.6})
    assert beliefs.probabilities("color") == pytest.approx({"red": 16 / 18.5, "blue": 1.5 / 18.5})  # 4 * 4 : 1.5 : 1
    assert beliefs.words() == {"color": "red"} and beliefs.confidence() == pytest.approx({"color": 16 / 18.5})


def test_evidence_is_bounded_so_that_a_change_is_believed() -> None:
    beliefs = AttributeBeliefs()
    for _ in range(1000):
        beliefs.read({"color": "red"}, {})
    readings = 0
    while beliefs.words()["color"] == "red":
        beliefs.read({"color": "blue"}, {})
        readings += 1
    assert readings == math.ceil(MAX_EVIDENCE / math.log(0.95 / 0.05))
    for i in range(100):
        beliefs.read({"color": f"shade {i}"}, {})
    assert len(beliefs.to_dict()["color"]) <= 16


def test_cost_of_beliefs_that_agree_differ_or_know_nothing_of_each_other() -> None:
    def sure(**words: str) -> AttributeBeliefs:
        beliefs = AttributeBeliefs()
        for _ in range(5):
            beliefs.read(words, {})
        return beliefs
    assert sure(color="red").cost_against(sure(color="red")) == pytest.approx((0, 0), abs=1e-3)
    assert sure(color="red").cost_against(sure(color="blue", shape="cube")) == pytest.approx((DIFFERENCE_COST, 1))
    assert sure(color="red").cost_against(sure(shape="cube")) == (0, 0)
    unsure = AttributeBeliefs.of({"color": "blue"}, {"color": 0.6})
    assert 0.7 < sure(color="red").cost_against(unsure)[0] < 1.0  # about -log 0.4


def test_a_position_converges_to_the_mean_of_its_sightings() -> None:
    rng = np.random.default_rng(0)
    sightings = rng.normal((1.0, 2.0, 0.3), 0.1, (50, 3))
    noise = 0.01 * np.eye(3)
    estimate = PositionFilter(sightings[0], noise)
    for sighting in sightings[1:]:
        estimate.update(sighting, noise)
    assert estimate.mean_m == pytest.approx(sightings.mean(axis=0), abs=0.02)
    assert np.diag(estimate.covariance_m2) == pytest.approx([0.01 / 50] * 3, rel=0.3)
    estimate.drift(0.04)
    assert np.diag(estimate.covariance_m2) == pytest.approx([0.04 + 0.01 / 50] * 3, rel=0.05)


def test_one_wild_sighting_moves_a_position_less_than_its_share() -> None:
    estimate = PositionFilter(np.zeros(3), 0.01 * np.eye(3))
    estimate.update(np.array([10.0, 0.0, 0.0]), 0.01 * np.eye(3))
    assert 0 < estimate.mean_m[0] < 0.1


@pytest.mark.parametrize("period", [math.pi / 2, 2 * math.pi])
def test_a_yaw_is_averaged_on_its_circle(period: float) -> None:
    yaw = YawFilter(period)
    for turn in (-0.1, 0.1, period - 0.1, period + 0.1, -3 * period):
        yaw.update(turn)
    assert yaw.yaw_rad == pytest.approx(0.0, abs=1e-9)
    assert 0 < yaw.sigma_rad < 0.1


def test_a_yaw_that_is_only_noise_stays_unknown() -> None:
    yaw = YawFilter(math.pi / 2)
    yaw.update(0.3)
    assert yaw.sigma_rad == pytest.approx(math.pi / 2 / math.sqrt(12))
    yaw.update(0.3 + math.pi / 4)
    assert yaw.sigma_rad == pytest.approx(math.pi / 2 / math.sqrt(12))


def test_yaw_follows_the_believed_shape() -> None:
    world = World()
    for yaw in (0.1, 0.1 + math.pi / 2, 0.1):
        world.show(thing(shape="cube", yaw=yaw))
    known = world.memory.snapshot().objects[0]
    assert known.object.yaw_rad == pytest.approx(0.1) and known.yaw_sigma_rad < 0.1
    world.show(thing(shape="sphere"), frames=20)
    assert world.memory.snapshot().objects[0].object.yaw_rad is None


def test_other_words_may_decide_the_symmetry() -> None:
    world = World(yaw=YawPeriods(math.pi, "color", ("red",)))
    for yaw in (0.2, 0.2 + math.pi, 0.2):
        world.show(thing("red", shape="cube", yaw=yaw))
    assert world.memory.snapshot().objects[0].object.yaw_rad == pytest.approx(0.2)


def _tracks(*things: SceneObject) -> list:
    world = World()
    world.show(*things, frames=3)
    return world.memory.state().tracks


def test_visible_share_of_what_is_in_view_hidden_half_hidden_and_out_of_view() -> None:
    low = looking_from(0.0, -6.0, 0.35, target=(0.0, 0.0, 0.35))
    front, back, beside = _tracks(thing("red", 0.0, -2.0, shape="cube", extent=1.0), thing("blue", 0.0, 1.0),
                                  thing("green", 2.5, 1.0))
    everything = [front, back, beside]
    assert visible_share(front, everything, low) == 1.0
    assert visible_share(back, everything, low) == 0.0
    assert visible_share(back, [back, beside], low) == 1.0
    assert visible_share(beside, everything, low) == 1.0
    assert visible_share(front, everything, AWAY) == 0.0
    assert visible_share(beside, everything, replace(low, range_m=6.0)) == 0.0
    half = looking_from(1.4, -6.0, 0.35, target=(1.4, 0.0, 0.35))
    assert 0.2 < visible_share(back, everything, half) < 0.8


def test_two_opinions_on_one_place_do_not_hide_each_other() -> None:
    low = looking_from(0.0, -6.0, 0.35, target=(0.0, 0.0, 0.35))
    tracks = _tracks(thing("red", 0.0, 0.0), thing("blue", 0.0, 0.45, shape="cube", size="large"))
    assert [visible_share(t, tracks, low) for t in tracks] == [1.0, 1.0]


def test_an_unseen_object_behind_another_is_kept_and_in_the_open_it_is_not() -> None:
    world = World()
    low = looking_from(0.0, -6.0, 0.35, target=(0.0, 0.0, 0.35))
    front, back, beside = thing("red", 0.0, -2.0, extent=1.0), thing("blue", 0.0, 1.0), thing("green", 2.0, 1.0)
    world.show(front, back, beside, frames=5)
    world.show(front, frames=15, viewpoint=low)
    assert world.by_color().keys() == {"red", "blue"}


def test_nothing_is_missed_from_an_unknown_viewpoint() -> None:
    world = World()
    world.show(thing(), frames=5)
    world.show(frames=50, viewpoint=None)
    assert world.ids() == ["object_0"]


def test_a_viewpoint_from_a_view_over_the_plane() -> None:
    pose = FRONT.frame_T_optical
    view = view_from_pose(LENS, pose)
    viewpoint = Viewpoint.of(view, view.world_T_plane, range_m=5.0)
    assert viewpoint.frame_T_optical.matrix() == pytest.approx(pose.matrix(), abs=1e-9) and viewpoint.range_m == 5.0
    turned = Viewpoint.of(CameraView(LENS, PlaneCamera(5.0, 0.6)), Transform.from_yaw(1.0))
    assert turned.behind_rad() == pytest.approx(math.pi / 2 + 1.0)


def test_behind_is_away_from_the_camera_also_when_it_looks_down() -> None:
    assert FRONT.behind_rad() == pytest.approx(math.pi / 2)
    assert looking_from(0.0, -0.5, 6.0).behind_rad() == pytest.approx(math.pi / 2)


def test_cheapest_pairs_by_a_hand_worked_example() -> None:
    assert cheapest_pairs(np.array([[1.0, 2.0], [1.5, 9.0]]), unmatched=10) == [(0, 1), (1, 0)]
    assert cheapest_pairs(np.array([[1.0, 6.0], [6.0, np.inf]]), unmatched=10) == [(0, 0)]
    assert cheapest_pairs(np.zeros((0, 3)), unmatched=10) == []


@pytest.mark.parametrize("settings", [
    {"position_sigma_m": 0.0}, {"move_radius_m": math.nan}, {"near_gap_m": math.inf}, {"expected_recall": 1.0},
    {"confirm_sightings": 0}, {"max_objects": 0}, {"viewpoint": "map"}, {"plane_height_m": math.nan},
    {"forget_after_s": 0.0}])
def test_settings_out_of_range_are_named(settings: dict) -> None:
    with pytest.raises(MemoryConfigError, match=next(iter(settings))):
        MemoryConfig(**settings)


def test_periods_of_yaws() -> None:
    assert YawPeriods().of({"shape": "cube"}) == math.pi / 2 and YawPeriods().of({"shape": "mug"}) == 2 * math.pi
    assert YawPeriods(math.pi, None).of({}) == math.pi
    with pytest.raises(ValueError, match="must lie in"):
        YawPeriods(0.0)
