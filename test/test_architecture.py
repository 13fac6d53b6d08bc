"""The rules of the house: which room may import which, and where torch and ROS may appear."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "kyvo_ros"

#: What each room, or module beside the rooms, sees of the others: whole rooms, or one module of a room.
SEES = {
    "machine": set(),
    "scene": set(),
    "tokens": {"scene"},
    "questions": {"scene"},
    "depth": {"scene"},
    "evaluation": {"scene"},
    "drawing": {"scene"},
    "autoencoders": {"scene", "tokens", "questions"},
    "model": {"scene", "tokens", "questions", "autoencoders"},
    "data": {"scene", "tokens", "questions"},
    "training": {"scene", "tokens", "questions", "autoencoders", "model", "data", "evaluation", "drawing",
                 "machine"},
    "pipeline": {"scene", "tokens", "questions", "autoencoders", "model", "machine"},
    "ros": {"scene", "depth", "tokens", "questions", "autoencoders", "model", "pipeline", "evaluation", "drawing",
            "machine", "data.images"},
    "commands": {"scene", "tokens", "questions", "autoencoders", "model", "pipeline", "evaluation", "drawing", "data",
                 "training", "ros", "machine"},
    "cli": {"commands", "training"},
}
#: Third-party packages of the rooms that must stay light.
MAY_INSTALL = {
    "scene": {"numpy", "scipy"}, "depth": {"numpy"}, "tokens": {"numpy", "tokenizers"}, "questions": set(),
    "evaluation": {"numpy", "scipy"}}

TORCH = re.compile(r"torch(vision|audio)?$|transformers$|safetensors$")
ROS = re.compile(r"rclpy$|.*_msgs$|.*_interfaces$|tf2_.*|launch(_ros)?$|ament_.*|rosbag2_py$|cv_bridge$|rosidl_.*")


def _modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def _room(path: Path) -> str:
    """The room of a module; of one beside the rooms, its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the direction; write kyvo_ros.<room>"
            yield node.module
            if node.module == "kyvo_ros":
                yield from (f"kyvo_ros.{alias.name}" for alias in node.names if alias.name in SEES)


def _top(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_house(path: Path) -> None:
    room = _room(path)
    if room == "__init__":
        return
    assert room in SEES, f"{path.name} is in no known room; add it to the table with what it may see"
    for name in _imports(path):
        parts = name.split(".")
        if parts[0] == "kyvo_ros" and len(parts) > 1 and parts[1] != room:
            seen = parts[1] in SEES[room] or ".".join(parts[1:3]) in SEES[room]
            assert seen, f"{room} must not see {parts[1]}: {path.name} imports {name}"
        assert room == "ros" or not ROS.match(_top(name)), f"ROS belongs in ros/ only: {path.name} imports {name}"


@pytest.mark.parametrize("room", sorted(MAY_INSTALL))
def test_light_rooms_install_little(room: str) -> None:
    for path in (p for p in _modules() if _room(p) == room):
        foreign = {_top(name) for name in _imports(path)} - set(sys.stdlib_module_names) - {"kyvo_ros"}
        assert not any(TORCH.match(name) for name in foreign), f"no torch in {room}: {path.name}"
        assert foreign <= MAY_INSTALL[room], f"{path.name} imports {foreign - MAY_INSTALL[room]}"


def test_rules_have_no_cycles() -> None:
    order: list[str] = []
    waiting = dict(SEES)
    while waiting:
        ready = sorted(room for room, seen in waiting.items() if {s.split(".")[0] for s in seen} <= set(order))
        assert ready, f"rooms see each other in a circle: {sorted(waiting)}"
        order += ready
        for room in ready:
            del waiting[room]
