"""Settings: ranges, choices, reasons; and the files that are made from them."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from kyvo_ros.ros.parameters import markdown_table, yaml_file
from kyvo_ros.ros.settings import SettingError, Settings

REPOSITORY = Path(__file__).resolve().parents[2]


def test_defaults_are_valid_and_every_setting_is_explained() -> None:
    Settings()
    for item in fields(Settings):
        assert len(item.metadata["meaning"]) > 20, f"{item.name} needs an explanation"
        if isinstance(item.default, float):
            assert item.metadata["minimum"] is not None, f"{item.name} needs a range"


@pytest.mark.parametrize("values, reason", [
    ({"confidence_threshold": 1.5}, r"confidence_threshold must be from 0 to 1, got 1.5"),
    ({"max_rate_hz": -1.0}, r"max_rate_hz must be from 0 to 1000 Hz, got -1"),
    ({"max_rate_hz": math.nan}, "finite"),
    ({"max_rate_hz": "fast"}, "must be of type float, got 'fast'"),
    ({"camera_info_required": 1}, "must be of type bool"),
    ({"threads": True}, "must be of type int"),
    ({"threads": 2.0}, "must be of type int"),
    ({"image_transport": "theora"}, "must be one of raw, compressed, got 'theora'"),
    ({"scale": "metres"}, "must be one of units, distance"),
    ({"effort": "slow"}, "must be one of fast, accurate, thorough"),
    ({"device": "gpu"}, "must be auto, cpu, cuda or cuda:N, got 'gpu'"),
    ({"support_plane_frame": ""}, "must not be empty"),
    ({"scale": "distance"}, "needs the distance to the plane"),
    ({"depth_source": "lidar"}, "must be one of none, image, points"),
    ({"plane_source": "tf"}, "plane_source 'tf' needs plane_frame"),
    ({"plane_source": "parameter", "plane_frame": "map"}, "plane_source 'parameter' needs plane_distance_m"),
    ({"plane_source": "depth", "plane_distance_m": 1.0}, "plane_source 'depth' needs depth_source"),
    ({"memory_frame": "support_plane"}, "objects stand still, such as map or odom; 'support_plane' moves"),
    ({"memory_viewpoint": "robot"}, "must be one of camera, frame"),
    ({"memory_forget_after_s": -1.0}, "memory_forget_after_s must be from 0"),
    ({"plane_distance_m": 1.0, "plane_elevation_rad": 0.05}, "is it in degrees"),
    ({"plane_distance_m": 1.0, "plane_elevation_rad": 30.0}, "must be from 0 to 1.48"),
    ({"plane_elevation_rad": 0.5}, "says nothing without plane_distance_m"),
    ({"colour": "red"}, "there is no setting 'colour'"),
])
def test_bad_values_are_rejected_with_the_reason(values: dict, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        Settings.from_values(values)


def test_whole_numbers_are_taken_for_real_ones() -> None:
    assert Settings(max_rate_hz=5).min_period_s == 0.2
    assert Settings().min_period_s == 0.0


@pytest.mark.parametrize("values, plane_by", [
    ({}, "model"), ({"depth_source": "image"}, "depth"),
    ({"depth_source": "image", "plane_distance_m": 1.0}, "parameter"),
    ({"depth_source": "points", "plane_frame": "map", "plane_distance_m": 1.0}, "tf"),
    ({"depth_source": "points", "plane_frame": "map", "plane_source": "depth", "scale": "distance"}, "depth"),
    ({"plane_frame": "map", "plane_distance_m": 1.0, "plane_source": "parameter"}, "parameter"),
])
def test_where_the_plane_comes_from(values: dict, plane_by: str) -> None:
    assert Settings(**values).plane_by == plane_by


@pytest.mark.parametrize("values, needs_tf, broadcasts", [
    ({}, False, False), ({"output_frame": "support_plane"}, False, True), ({"output_frame": "map"}, True, False),
    ({"plane_frame": "world", "output_frame": "support_plane"}, True, True), ({"memory_frame": "map"}, True, False),
    ({"depth_source": "points"}, True, False), ({"depth_source": "image"}, False, False),
])
def test_what_settings_ask_of_tf(values: dict, needs_tf: bool, broadcasts: bool) -> None:
    settings = Settings(**values)
    assert (settings.needs_tf, settings.broadcasts_plane) == (needs_tf, broadcasts)


def test_the_parameter_file_is_what_the_settings_say() -> None:
    text = (REPOSITORY / "config" / "kyvo_node.yaml").read_text()
    assert text == yaml_file(), "run python -m kyvo_ros.ros.parameters --yaml > config/kyvo_node.yaml"
    values = yaml.safe_load(text)["/**"]["ros__parameters"]
    assert Settings.from_values(values) == Settings()
    assert list(values) == [item.name for item in fields(Settings)]


def test_every_parameter_of_the_file_has_a_comment_above_it() -> None:
    lines = (REPOSITORY / "config" / "kyvo_node.yaml").read_text().splitlines()
    for before, line in zip(lines, lines[1:]):
        if line.strip().split(":")[0] in {item.name for item in fields(Settings)}:
            assert before.strip().startswith("#"), f"no comment above {line!r}"


def test_the_tabletop_preset_is_valid_and_metric() -> None:
    values = yaml.safe_load((REPOSITORY / "config" / "tabletop.yaml").read_text())["/**"]["ros__parameters"]
    settings = Settings.from_values(values)
    assert settings.scale == "distance" and settings.broadcasts_plane and settings.plane_distance_m > 0


def test_the_table_names_every_parameter_once() -> None:
    rows = markdown_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [item.name for item in fields(Settings)]
