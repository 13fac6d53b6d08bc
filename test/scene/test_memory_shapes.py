"""Shapes of remembered objects: kept for the object that they are of, turned as it stands, saved and loaded."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from memory_world import MAP, World, thing

from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.scene.memory import MemoryInputError, MemoryRecordError, SceneMemory, memory_to_dict, restore_memory
from kyvo_ros.scene.mesh import Mesh

#: Lies along +x of its own frame.
MESH = Mesh([[0, 0, 0], [0.3, 0, 0], [0, 0.1, 0], [0, 0, 0.1]], [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]],
            [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]])


def _shaped(item: SceneObject, yaw: float | None = None) -> SceneObject:
    return replace(item, mesh=MESH, yaw_rad=yaw)


def _meshes(world: World) -> list[Mesh | None]:
    return [known.object.mesh for known in world.memory.snapshot().objects]


def test_a_shape_is_kept_for_the_object_that_it_is_of() -> None:
    world = World()
    world.show(thing("red", -1.0), thing("blue", 1.0), frames=5)
    revision = world.memory.snapshot().revision
    assert world.memory.see_shapes(Scene([_shaped(thing("blue", 1.05)), thing("red", -1.0)], MAP)) == ("object_1",)
    assert _meshes(world) == [None, MESH] and world.memory.snapshot().revision == revision + 1
    world.show(thing("red", -1.0), thing("blue", 1.0), frames=5)
    assert _meshes(world) == [None, MESH], "frames without shapes take none away"
    world.show(_shaped(thing("red", -1.0)), thing("blue", 1.0))
    assert _meshes(world) == [MESH, MESH], "a frame may bring them, too"


def test_shapes_of_strangers_and_of_another_frame_are_not_kept() -> None:
    world = World()
    world.show(thing("red", -1.0), frames=5)
    before = world.memory.snapshot()
    assert world.memory.see_shapes(Scene([_shaped(thing("green", 3.0))], MAP)) == ()
    assert world.memory.snapshot().revision == before.revision and len(world.memory) == 1
    with pytest.raises(MemoryInputError, match="frame map"):
        world.memory.see_shapes(Scene([_shaped(thing("red", -1.0))], "odom"))


@pytest.mark.parametrize("shape", ["cube", "cone"])  # one looks the same after a quarter turn, the other does not
@pytest.mark.parametrize("seen_rad", [0.3, 0.35, 0.3 - math.pi / 2, 0.3 + math.pi])
def test_of_the_turns_that_look_alike_the_shape_takes_the_believed_one(seen_rad: float, shape: str) -> None:
    world = World()
    world.show(thing("red", 0.0, shape=shape, yaw=0.3), frames=5)
    seen = _shaped(thing("red", 0.0, shape=shape), seen_rad)
    world.memory.see_shapes(Scene([seen], MAP))
    (known,) = world.memory.snapshot().objects
    if shape == "cube":
        assert known.object.placed_mesh().vertices == pytest.approx(seen.placed_mesh().vertices, abs=0.05)
    else:
        assert known.object.mesh is MESH, "its turn was read wrongly, or this time rightly"


def test_an_object_that_was_put_elsewhere_keeps_its_shape() -> None:
    world = World()
    world.show(thing("red", -1.0), frames=5)
    world.memory.see_shapes(Scene([_shaped(thing("red", -1.0))], MAP))
    world.show(thing("red", 0.8), frames=12)
    (known,) = world.memory.snapshot().objects
    assert known.moves == 1 and known.object.mesh is MESH


def _with_shape() -> SceneMemory:
    world = World()
    world.show(thing("red", -1.0), thing("blue", 1.0), frames=5)
    world.memory.see_shapes(Scene([_shaped(thing("red", -1.0))], MAP))
    return world.memory


def test_shapes_are_saved_exactly() -> None:
    memory, other = _with_shape(), SceneMemory(MAP)
    restore_memory(other, json.loads(json.dumps(memory_to_dict(memory))))
    assert memory_to_dict(other) == memory_to_dict(memory)
    mesh, none = (known.object.mesh for known in other.snapshot().objects)
    assert np.array_equal(mesh.vertices, MESH.vertices) and np.array_equal(mesh.faces, MESH.faces) and none is None
    assert np.array_equal(mesh.colors, MESH.colors)


@pytest.mark.parametrize("damage", [
    {"mesh": None}, {"mesh": {}}, {"mesh": 3}, {"vertices_m": [[0, 0]]}, {"vertices_m": [[0, 0, float("nan")]] * 4},
    {"vertices_m": [[0, 0, 0]]}, {"faces": [[0, 1, 9]]}, {"faces": [[0, 1, -1]]}, {"faces": [[0, 1]]},
    {"faces": [[0, 1, 0.5]]}, {"colors": [[256, 0, 0]] * 4}, {"colors": [[0, 0, 0]]}, {"colors": "red"}])
def test_shapes_that_are_none_are_refused(damage: dict) -> None:
    memory = _with_shape()
    record = memory_to_dict(memory)
    before = copy.deepcopy(record)
    (entry,) = (entry for entry in record["objects"] if "mesh" in entry)
    entry.update(damage) if "mesh" in damage else entry["mesh"].update(damage)
    with pytest.raises(MemoryRecordError, match="not the record of a memory"):
        restore_memory(memory, record)
    assert memory_to_dict(memory) == before
