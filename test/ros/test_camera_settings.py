"""Settings of several cameras: what is the node's, what a camera has of its own, and names."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from kyvo_ros.ros.camera_settings import OWN_SETTINGS, Configuration
from kyvo_ros.ros.settings import MOST_CAMERAS, SettingError, Settings
from kyvo_ros.ros.status import DROP_REASONS


def test_own_settings_are_settings() -> None:
    assert set(OWN_SETTINGS) < {item.name for item in fields(Settings)}
    assert len(set(OWN_SETTINGS)) == len(OWN_SETTINGS)


def test_without_names_there_is_one_camera_with_the_node_s_settings() -> None:
    node = Settings(max_rate_hz=3.0, output_frame="support_plane")
    assert Configuration(node).cameras == {"": node}


def test_a_camera_has_its_own_over_the_node_s() -> None:
    node = Settings(cameras=("front", "left"), confidence_threshold=0.5)
    cameras = Configuration(node, {"front": {"max_rate_hz": 4, "roi": [1, 2, 3, 4]}}).cameras
    assert list(cameras) == ["front", "left"]
    assert (cameras["front"].min_period_s, cameras["front"].roi) == (0.25, (1, 2, 3, 4))
    assert cameras["left"].min_period_s == 0.0 and cameras["left"].roi == (0, 0, 0, 0)
    assert {c.confidence_threshold for c in cameras.values()} == {0.5}


@pytest.mark.parametrize("node, own, frame, output", [
    ({}, {}, "front_support_plane", ""),
    ({"output_frame": "support_plane"}, {}, "front_support_plane", "front_support_plane"),
    ({"output_frame": "map"}, {}, "front_support_plane", "map"),
    ({}, {"output_frame": "support_plane"}, "front_support_plane", "front_support_plane"),
    ({"output_frame": "support_plane"}, {"support_plane_frame": "table"}, "table", "table"),
    ({"output_frame": "support_plane"}, {"output_frame": ""}, "front_support_plane", ""),
])
def test_every_camera_has_a_support_plane_of_its_own(node: dict, own: dict, frame: str, output: str) -> None:
    settings = Configuration(Settings(cameras=("front",), **node), {"front": own}).cameras["front"]
    assert (settings.support_plane_frame, settings.output_frame) == (frame, output)


def test_two_cameras_never_broadcast_one_frame() -> None:
    same = {"output_frame": "table", "support_plane_frame": "table"}
    with pytest.raises(SettingError, match="cameras a and b would both broadcast the frame 'table'"):
        Configuration(Settings(cameras=("a", "b")), {"a": same, "b": same})


def test_errors_name_the_camera() -> None:
    with pytest.raises(SettingError, match="camera a: max_rate_hz must be from 0 to 1000 Hz, got -1"):
        Configuration(Settings(cameras=("a",)), {"a": {"max_rate_hz": -1.0}})


def test_changes_are_made_over_what_was_and_none_takes_back() -> None:
    first = Configuration(Settings(cameras=("a", "b"), max_rate_hz=1.0), {"a": {"max_rate_hz": 2.0}})
    second = first.changed({"confidence_threshold": 0.5}, {"b": {"lazy": True}})
    assert second.cameras["a"].max_rate_hz == 2.0 and second.cameras["b"].lazy
    third = second.changed({}, {"a": {"max_rate_hz": None}})
    assert third.cameras["a"].max_rate_hz == 1.0 and third.cameras["a"].confidence_threshold == 0.5
    fourth = third.changed({"cameras": ["b", "c"]}, {})
    assert list(fourth.cameras) == ["b", "c"] and fourth.cameras["b"].lazy and not fourth.cameras["c"].lazy


@pytest.mark.parametrize("names, reason", [
    (["a", "a"], "names 'a' twice"), (["model"], "which is a parameter"), (["use_sim_time"], "which is a parameter"),
    (["a__b"], "must begin with a letter"), (["a/b"], "must begin with a letter"), (["1a"], "must begin with a letter"),
    (["a_"], "must begin with a letter"), (["ä"], "must begin with a letter"), (["a b"], "must begin with a letter"),
    (["a" * 65], "at most 64"), ("front", "must be a list of str"), ([1], "must be of type str"),
    ([f"c{n}" for n in range(MOST_CAMERAS + 1)], f"cameras may name {MOST_CAMERAS}, got {MOST_CAMERAS + 1}"),
])
def test_names_that_cannot_be_are_refused_with_the_reason(names, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Settings(cameras=names)


def test_empty_names_are_none() -> None:
    assert Settings(cameras=[""]).cameras == Settings(cameras=[]).cameras == Settings(cameras=None).cameras == ()


@pytest.mark.parametrize("roi, reason", [([0, 0, 1], "four numbers"), ([0, 0, 1, -1], "from 0 to 65535"),
                                         ([0, 0, 1, 1.5], "must be of type int")])
def test_regions_that_cannot_be_are_refused(roi: list, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Settings(roi=roi)


def test_the_page_on_cameras_names_all_of_them_and_every_reason_of_a_drop() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cameras.md").read_text()
    missing = {name for name in (*OWN_SETTINGS, *DROP_REASONS) if f"`{name}`" not in page}
    assert not missing
