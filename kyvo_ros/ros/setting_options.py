"""Settings from a parameter file and from assignments, as `--params-file` and `-p` give them to a node. Knows no ROS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from kyvo_ros.ros.settings import SettingError, Settings

_NODE = "kyvo_node"


def settings_of(params_file: Path | None, assignments: Sequence[str]) -> Settings:
    """The settings of a file, with `name:=value` assignments over them. Raises SettingError."""
    values = values_of_file(params_file) if params_file else {}
    return Settings.from_values({**values, **dict(map(_assignment, assignments))})


def values_of_file(path: Path) -> dict[str, Any]:
    """What a ROS parameter file says to kyvo_node; parameters that are no settings, such as use_sim_time, are left out.

    Raises SettingError where it is no parameter file.
    """
    known, values = {item.name for item in fields(Settings)}, {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for node, content in document.items():
            if node == "/**" or node.rpartition("/")[2] == _NODE:
                values |= {name: value for name, value in content["ros__parameters"].items() if name in known}
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is no ROS parameter file ({type(error).__name__}: {error}); it needs "
                           f"`{_NODE}:` or `/**:`, and `ros__parameters:` below") from error
    return values


def _assignment(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition(":=")
    if not separator:
        raise SettingError(f"expected NAME:=VALUE, got '{text}'")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingError(f"the value of '{text}' is no YAML: {error}") from error
    return name, "" if parsed is None else parsed
