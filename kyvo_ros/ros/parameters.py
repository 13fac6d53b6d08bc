"""Settings as ROS parameters: declared with description and range, checked when they are set.

`python -m kyvo_ros.ros.parameters` prints the README's table, with `--yaml` the commented parameter file.
"""

from __future__ import annotations

import argparse
import textwrap
import threading
from collections.abc import Callable
from dataclasses import Field, asdict, fields

from kyvo_ros.ros.settings import SettingError, Settings


class NodeParameters:
    """The parameters of a node; `current` is the newest valid Settings.

    `changed(old, new)` is called whenever parameters were set, also to what they were, in the executor's thread.
    `check(old, new)` may raise SettingError to reject a change for reasons that the values alone do not show.
    Raises SettingError where the node's start values (parameter file, command line) are not valid.
    """

    def __init__(self, node, changed: Callable[[Settings, Settings], None],
                 check: Callable[[Settings, Settings], None] = lambda old, new: None) -> None:
        self._guard = threading.Lock()
        self._changed = changed
        self._check = check
        from kyvo_ros.ros.distributions import watch_parameters
        self.current = Settings.from_values(_declare(node))
        watch_parameters(node, self._on_set, self._after_set)

    def _candidate(self, parameters) -> Settings:
        known = {item.name for item in fields(Settings)}
        given = {p.name: p.value for p in parameters if p.name in known}
        return Settings.from_values({**asdict(self.current), **given})

    def _on_set(self, parameters):
        from rcl_interfaces.msg import SetParametersResult
        try:
            self._check(self.current, self._candidate(parameters))
        except SettingError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after_set(self, parameters) -> None:
        with self._guard:
            old, self.current = self.current, self._candidate(parameters)
        self._changed(old, self.current)


def _declare(node) -> dict:
    """Declare all parameters and return their start values."""
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
    values = {}
    for item in fields(Settings):
        try:
            values[item.name] = node.declare_parameter(item.name, item.default, _descriptor(item)).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise SettingError(str(error)) from error
    return values


def _descriptor(item: Field):
    """What `ros2 param describe` shows. `Settings` checks the same and more."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    about = item.metadata
    descriptor = ParameterDescriptor(
        description=about["meaning"] + (f" [{about['unit']}]" if about["unit"] else ""), read_only=not about["live"],
        additional_constraints="one of: " + ", ".join(about["choices"]) if about["choices"] else "",
        dynamic_typing=isinstance(item.default, float))  # so that `ros2 param set` may say 5 for 5.0
    if about["minimum"] is not None and isinstance(item.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=about["minimum"], to_value=about["maximum"])]
    elif about["minimum"] is not None:
        descriptor.integer_range = [IntegerRange(from_value=about["minimum"], to_value=about["maximum"])]
    return descriptor


def _type_name(item: Field) -> str:
    return {str: "string", bool: "bool", int: "int", float: "double"}[type(item.default)]


def _literal(value) -> str:
    """The value as YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _range_text(item: Field) -> str:
    about = item.metadata
    if about["choices"]:
        return ", ".join(about["choices"])
    return f"{about['minimum']:g} to {about['maximum']:g}" if about["minimum"] is not None else "any"


def markdown_table() -> str:
    """The table of parameters for the README."""
    lines = ["| Parameter | Type | Unit | Default | Range | Live | Meaning |", "|---|---|---|---|---|---|---|"]
    for item in fields(Settings):
        about = item.metadata
        lines.append(f"| `{item.name}` | {_type_name(item)} | {about['unit'] or '-'} | `{_literal(item.default)}` | "
                     f"{_range_text(item)} | {'yes' if about['live'] else 'start'} | {about['meaning']} |")
    return "\n".join(lines)


def yaml_file() -> str:
    """The parameter file with every parameter at its default, commented."""
    lines = ["# Every parameter of kyvo_node at its default. Made by `python -m kyvo_ros.ros.parameters --yaml`.",
             "# Those marked [start] are read once; all others may change while the node runs (ros2 param set).",
             "/**:", "  ros__parameters:"]
    for item in fields(Settings):
        about = item.metadata
        marks = "; ".join(m for m in (about["unit"], _range_text(item) if _range_text(item) != "any" else "") if m)
        comment = about["meaning"] + (f" [{marks}]" if marks else "") + ("" if about["live"] else " [start]")
        lines += [f"    # {line}" for line in textwrap.wrap(comment, 112)]
        lines += [f"    {item.name}: {_literal(item.default)}", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the parameters of kyvo_node as a Markdown table.")
    parser.add_argument("--yaml", action="store_true", help="print the commented parameter file instead")
    print(yaml_file() if parser.parse_args().yaml else markdown_table(), end="")
