"""Paths below a folder: what leads out of it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_world import MAP, World, thing

from kyvo_ros.scene.memory import (
    MemoryRecordError, PathError, SceneMemory, memory_to_dict, path_below, restore_memory)


@pytest.mark.parametrize("name", ["a.json", "rooms/a.json", "rooms/../a.json", "./a.json", "..a"])
def test_names_below_the_folder_are_taken(tmp_path: Path, name: str) -> None:
    path = path_below(tmp_path, name)
    assert path.is_absolute() and tmp_path.resolve() in path.parents


@pytest.mark.parametrize("name", ["", ".", "..", "../a.json", "rooms/../../a.json", "/etc/passwd", "a\0b"])
def test_names_that_lead_out_or_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PathError):
        path_below(tmp_path / "graphs", name)


def test_links_are_followed_before_it_is_judged(tmp_path: Path) -> None:
    inside, outside = tmp_path / "graphs", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
    (inside / "out").symlink_to(outside)
    (inside / "circle").symlink_to(inside / "circle")
    (inside / "kitchen.json").symlink_to(outside / "secret")
    for name in ("out/a.json", "kitchen.json"):
        with pytest.raises(PathError, match="below"):
            path_below(inside, name)
    (tmp_path / "shortcut").symlink_to(inside)
    assert path_below(tmp_path / "shortcut", "a.json") == (inside / "a.json").resolve()


def test_words_that_no_message_can_hold_are_refused() -> None:
    world = World()
    world.show(thing(), frames=3)
    record = memory_to_dict(world.memory)
    record["objects"][0]["evidence"] = {"color": {"\ud800": 1.0}}
    with pytest.raises(MemoryRecordError):
        restore_memory(SceneMemory(MAP), record)
