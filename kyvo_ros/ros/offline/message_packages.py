"""Message packages for a Python that has no ROS: the names that conversions import, made from the definitions.

`provide` makes `from geometry_msgs.msg import Pose` work, so that one mapping from scenes to messages serves the node
and this room. Where ROS is there its own classes are used and nothing is made. Messages that `rosbags` lacks (ours,
vision_msgs) are read from their .msg files.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

#: Those that are not in rosbags' own store.
_FROM_FILES = ("kyvo_msgs", "vision_msgs")
PACKAGES = ("builtin_interfaces", "geometry_msgs", "sensor_msgs", "shape_msgs", "std_msgs", "tf2_msgs",
            "visualization_msgs", *_FROM_FILES)
#: The one default value in these packages that is not zero; rosbags does not keep defaults.
_DEFAULTS = {("geometry_msgs/msg/Quaternion", "w"): 1.0}


class DefinitionsError(FileNotFoundError):
    """The .msg files of a package are not where they should be; the message names the places."""


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """All types that are read and written. Raises DefinitionsError."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict = {}
    for package in _FROM_FILES:
        for path in sorted(_definitions(package).glob("*.msg")):
            types |= get_types_from_msg(_without_comments(path), f"{package}/msg/{path.stem}")
    store.register(types)
    return store


def provide() -> bool:
    """Make PACKAGES importable; True where they are ours, False where ROS has them all. Doing it again is free."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    if all(importlib.util.find_spec(name) for name in ("rclpy", *PACKAGES)):
        return False
    sys.meta_path.insert(0, _Finder())  # before what is installed: half of the real ones and half of ours do not mix
    return True


def type_name(message: Any) -> str:
    """Such as geometry_msgs/msg/Pose, of ROS's message or ours."""
    default = f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"
    return getattr(message, "__msgtype__", default)


def serialize(message: Any) -> bytes:
    """CDR of ROS's message or ours; inverse of `deserialize` for ours."""
    if hasattr(message, "__msgtype__"):
        return bytes(typestore().serialize_cdr(message, message.__msgtype__))
    from rclpy.serialization import serialize_message
    return serialize_message(message)


def deserialize(data: bytes, name: str) -> Any:
    """A message of rosbags' own classes, to be read by its fields. Raises rosbags.serde.SerdeError."""
    return typestore().deserialize_cdr(data, name)


def _definitions(package: str) -> Path:
    source = Path(__file__).resolve().parents[3]
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    places = [source / package / "msg", source / "interfaces_without_ros" / package / "msg",
              *(Path(prefix) / "share" / package / "msg" for prefix in prefixes if prefix)]
    for place in places:
        if place.is_dir():
            return place
    raise DefinitionsError(f"the definitions of {package} are at none of {', '.join(map(str, places))}; run from a "
                           "checkout of kyvo_ros, or source a ROS workspace in which the package is built")


def _without_comments(path: Path) -> str:
    """rosbags takes a comment behind a string constant for a part of it."""
    return "\n".join(line.partition("#")[0].rstrip() for line in path.read_text(encoding="utf-8").splitlines())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `<package>` and `<package>.msg` of PACKAGES."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        package, _, rest = fullname.partition(".")
        if package not in PACKAGES or rest not in ("", "msg"):
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=not rest)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__.endswith(".msg"):
            package = module.__name__.partition(".")[0]
            vars(module).update({name.split("/")[-1]: _message_class(name) for name in typestore().types
                                 if name.startswith(f"{package}/msg/")})


@lru_cache(maxsize=None)
def _message_class(name: str) -> type:
    """rosbags' class with a constructor like that of ROS: by keywords, what is not given at its default."""
    base, (_, fields) = typestore().types[name], typestore().fielddefs[name]

    def construct(self: Any, **values: Any) -> None:
        unknown = set(values) - {field for field, _ in fields}
        if unknown:
            raise TypeError(f"{name} has no field {sorted(unknown)}")
        for field, description in fields:
            setattr(self, field, values[field] if field in values else _default(name, field, description))

    package, _, short = name.split("/")
    return type(short, (base,), {"__init__": construct, "__module__": f"{package}.msg"})


def _default(name: str, field: str, description: Any) -> Any:
    """A fresh default value of a field."""
    if (name, field) in _DEFAULTS:
        return _DEFAULTS[name, field]
    kind, about = description
    if kind is Nodetype.NAME:
        return _message_class(about)()
    if kind is Nodetype.BASE:
        return {"string": "", "bool": False, "float32": 0.0, "float64": 0.0}.get(about[0], 0)
    (element_kind, element), length = about
    if element_kind is not Nodetype.BASE or element[0] == "string":
        return [_default("", "", (element_kind, element)) for _ in range(length if kind is Nodetype.ARRAY else 0)]
    return np.zeros(length if kind is Nodetype.ARRAY else 0, dtype=element[0])
