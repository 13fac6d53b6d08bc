"""Settings from a parameter file and from assignments, as `--params-file` and `-p` give them to a node. Knows no ROS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from kyvo_ros.ros.camera_settings import Configuration
from kyvo_ros.ros.settings import SettingError, Settings

_NODE = "kyvo_node"
#: Parameters of a node that are no settings: rclpy's own, and the managed node's.
_OF_ROS = ("use_sim_time", "qos_overrides", "start_type_description_service", "autostart")


def settings_of(params_file: Path | None, assignments: Sequence[str], camera: str = "") -> Settings:
    """The settings of a file, with `name:=value` assignments over them: those that hold for `camera`, which a node of
    several cameras needs. Raises SettingError.
    """
    values = {**(values_of_file(params_file) if params_file else {}), **dict(map(_assignment, assignments))}
    names = tuple(name for name in values.get("cameras") or () if name)
    own = {name: {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
           for name in names}
    node = Settings.from_values({key: value for key, value in values.items() if key.partition(".")[0] not in names})
    if not names and not camera:
        return node
    if camera not in names:
        expected = f"--camera-name must be one of {', '.join(names)}" if names else "the parameters name no cameras"
        raise SettingError(f"{expected}, got '{camera}'")
    return replace(Configuration(node, own).cameras[camera], cameras=())


def values_of_file(path: Path) -> dict[str, Any]:
    """What a ROS parameter file says to kyvo_node, those of a camera with its name before a dot; parameters that are no
    settings, such as use_sim_time, are left out.

    Raises SettingError where it is no parameter file.
    """
    known, values, ours, found = {item.name for item in fields(Settings)}, {}, set(), False
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        for node, content in document.items():
            if node == "/**" or node.rpartition("/")[2] == _NODE:
                said = dict(_flat(content["ros__parameters"]))
                ours |= set() if node == "/**" else set(said)  # that of all nodes may be another's
                values |= said
                found = True
        cameras = values.get("cameras") or ()
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is no ROS parameter file ({type(error).__name__}: {error}); it needs "
                           f"`{_NODE}:` or `/**:`, and `ros__parameters:` below") from error
    if not found:
        raise SettingError(f"{path} says nothing to kyvo_node; it needs `{_NODE}:` or `/**:`, and `ros__parameters:` "
                           "below")
    taken = {name for name in values if name in known or name.partition(".")[0] in cameras}
    unknown = sorted(name for name in ours - taken if name.partition(".")[0] not in _OF_ROS)
    if unknown:
        alike = get_close_matches(unknown[0], known, 1)
        hint = f"; did you mean {alike[0]}?" if alike else "; config/kyvo_node.yaml names all"
        raise SettingError(f"{path}: kyvo_node has no parameter '{unknown[0]}'{hint}")
    return {name: values[name] for name in values if name in taken}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Parameters by their full names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _assignment(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition(":=")
    if not separator:
        raise SettingError(f"expected NAME:=VALUE, got '{text}'")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SettingError(f"the value of '{text}' is no YAML: {error}") from error
    return name, "" if parsed is None else parsed
