"""Settings as ROS parameters: declared with description and range, checked when they are set.

`python -m kyvo_ros.ros.parameters` prints the README's table, with `--yaml` the commented parameter file.
"""

from __future__ import annotations

import argparse
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import Field, fields

from kyvo_ros.ros.camera_settings import OWN_SETTINGS, Configuration
from kyvo_ros.ros.settings import SettingError, Settings


class NodeParameters:
    """The parameters of a node; `current` is the newest valid Configuration.

    `changed(old, new)` is called whenever parameters were set, also to what they were, in the executor's thread.
    `check(old, new)` may raise SettingError to reject a change for reasons that the values alone do not show.
    Raises SettingError where the node's start values (parameter file, command line) are not valid.
    """

    def __init__(self, node, changed: Callable[[Configuration, Configuration], None],
                 check: Callable[[Configuration, Configuration], None] = lambda old, new: None) -> None:
        self._guard = threading.Lock()
        self._node = node
        self._changed = changed
        self._check = check
        self._declared: dict[str, dict] = {}  # start values of what cameras have of their own, where declared
        self._declaring = False
        from kyvo_ros.ros.distributions import watch_parameters
        settings = Settings.from_values(_declare(node))
        self.current = Configuration(settings, {name: self._of_camera(name) for name in settings.cameras})
        watch_parameters(node, self._on_set, self._after_set)

    def _of_camera(self, name: str) -> dict:
        """What a camera has of its own from the start; its parameters are declared if they are not yet."""
        if name not in self._declared:
            self._declared[name] = {}  # from now on, so that what a refusal leaves is taken back
            with self._quiet():
                self._declared[name] = _declare_camera(self._node, name)
        return self._declared[name]

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Declaring calls the callbacks of setting, too, which have nothing to do then."""
        self._declaring = True
        try:
            yield
        finally:
            self._declaring = False

    def _candidate(self, parameters) -> Configuration:
        """The configuration with these parameters set. Raises SettingError."""
        values, own = {}, {}
        for parameter in parameters:
            camera, _, name = parameter.name.rpartition(".")
            if parameter.name in _NAMES:
                values[parameter.name] = parameter.value
            elif camera in self.current.own and name in OWN_SETTINGS:
                own.setdefault(camera, {})[name] = parameter.value
        added = Settings.from_values({"cameras": values["cameras"]}).cameras if "cameras" in values else ()
        new = {name: self._of_camera(name) for name in added if name not in self.current.own}
        return self.current.changed(values, {**own, **new})

    def _on_set(self, parameters):
        from rcl_interfaces.msg import SetParametersResult
        if self._declaring:
            return SetParametersResult(successful=True)
        try:
            self._check(self.current, self._candidate(parameters))
        except SettingError as error:
            self._undeclare_unused()
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _after_set(self, parameters) -> None:
        if self._declaring:
            return
        with self._guard:
            old, self.current = self.current, self._candidate(parameters)
        self._undeclare_unused()
        self._declare_deleted(parameters)
        self._changed(old, self.current)

    def _undeclare_unused(self) -> None:
        """Parameters of cameras that are gone, or were refused."""
        for name in self._declared.keys() - self.current.own.keys():
            del self._declared[name]
            for setting in OWN_SETTINGS:
                if self._node.has_parameter(f"{name}.{setting}"):
                    self._node.undeclare_parameter(f"{name}.{setting}")

    def _declare_deleted(self, parameters) -> None:
        """What a camera has no longer of its own (`ros2 param delete`) may be set again."""
        from kyvo_ros.ros.distributions import once_stored
        deleted = [parameter.name for parameter in parameters if parameter.value is None]
        if deleted:
            once_stored(self._node, lambda: self._declare_again(deleted))

    def _declare_again(self, names: Sequence[str]) -> None:
        for full_name in names:
            camera, _, name = full_name.rpartition(".")
            if camera in self.current.own and name in OWN_SETTINGS and not self._node.has_parameter(full_name):
                with self._quiet():
                    self._node.declare_parameter(full_name, None, _own_descriptor(name), ignore_override=True)


#: The node's own settings, by name.
_NAMES = {item.name: item for item in fields(Settings)}


def _declare(node) -> dict:
    """Declare all parameters of the node and return their start values."""
    return {name: _declared(node, name, _default(item), _descriptor(item)) for name, item in _NAMES.items()}


def _declare_camera(node, camera: str) -> dict:
    """Declare what a camera may have of its own, without values, and return those that a file or an argument gives."""
    values = {name: _declared(node, f"{camera}.{name}", None, _own_descriptor(name)) for name in OWN_SETTINGS}
    return {name: value for name, value in values.items() if value is not None}


def _declared(node, name: str, default, descriptor):
    from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
    try:
        return node.declare_parameter(name, default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException) as error:
        raise SettingError(str(error)) from error


def _default(item: Field):
    """As ROS takes it: it cannot tell the type of an empty list."""
    return list(item.default) or [""] if isinstance(item.default, tuple) else item.default


def _own_descriptor(name: str):
    """Of a camera's parameter: it may change at any time, and need not be set."""
    descriptor = _descriptor(_NAMES[name])
    descriptor.read_only, descriptor.dynamic_typing = False, True
    descriptor.description = f"This camera's own, where it is set; elsewhere the node's {name} holds. " + (
        descriptor.description)
    return descriptor


def _descriptor(item: Field):
    """What `ros2 param describe` shows. `Settings` checks the same and more."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
    about = item.metadata
    descriptor = ParameterDescriptor(
        description=about["meaning"] + (f" [{about['unit']}]" if about["unit"] else ""), read_only=not about["live"],
        additional_constraints="one of: " + ", ".join(about["choices"]) if about["choices"] else "",
        dynamic_typing=isinstance(item.default, (float, tuple)))  # so that `ros2 param set` may say 5 for 5.0, and []
    if about["minimum"] is not None and isinstance(item.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=about["minimum"], to_value=about["maximum"])]
    elif about["minimum"] is not None and isinstance(item.default, int):
        descriptor.integer_range = [IntegerRange(from_value=about["minimum"], to_value=about["maximum"])]
    return descriptor


def _type_name(item: Field) -> str:
    names = {str: "string", bool: "bool", int: "int", float: "double"}
    if isinstance(item.default, tuple):
        return names[type(_default(item)[0])] + "[]"
    return names[type(item.default)]


def _literal(value) -> str:
    """The value as YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
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
        lines.append(f"| `{item.name}` | {_type_name(item)} | {about['unit'] or '-'} | `{_literal(_default(item))}` | "
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
        lines += [f"    {item.name}: {_literal(_default(item))}", ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the parameters of kyvo_node as a Markdown table.")
    parser.add_argument("--yaml", action="store_true", help="print the commented parameter file instead")
    print(yaml_file() if parser.parse_args().yaml else markdown_table(), end="")
