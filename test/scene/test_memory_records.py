"""Memories as JSON and GraphML: exact round trips, and records that are refused."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from memory_world import FRONT, MAP, World, thing

from kyvo_ros.scene import Scene, SceneObject
from kyvo_ros.scene.memory import (
    MemoryConfig, MemoryRecordError, SceneMemory, load_memory, memory_to_dict, restore_memory, save_memory, to_graphml)


def _lived() -> World:
    """A memory with confirmed, moved, lost and candidate objects."""
    world, rng = World(), np.random.default_rng(0)
    things = [thing("red", -1.5), thing("blue", 0.0, shape="cube"), thing("green", 1.5, 1.0)]
    for _ in range(10):
        world.shake(things, rng)
    things[0] = thing("red", -1.5, 1.5)
    for _ in range(10):
        world.shake(things[:2], rng)
    world.show(thing("blue", 0.05, yaw=0.3, shape="cube"), thing("cyan", 2.0, -1.0))
    return world


def test_a_memory_comes_back_exactly_and_goes_on_alike(tmp_path: Path) -> None:
    world = _lived()
    states = {t.status.value for t in world.memory.state().tracks}
    assert states == {"confirmed", "lost", "tentative"}
    save_memory(world.memory, tmp_path / "memory.json")
    other = SceneMemory(MAP)
    load_memory(other, tmp_path / "memory.json")
    assert memory_to_dict(other) == memory_to_dict(world.memory)
    assert other.snapshot().relations == world.memory.snapshot().relations
    rng = np.random.default_rng(1)
    for i in range(20):
        scene = Scene([thing("blue", *rng.normal(0, 0.1, 2), shape="cube", yaw=0.3), thing("cyan", 2.0, -1.0)], MAP)
        stamp = world.stamp_ns + (i + 1) * 10**8
        assert other.fuse(scene, FRONT, stamp) == world.memory.fuse(scene, FRONT, stamp)
    assert memory_to_dict(other) == memory_to_dict(world.memory)


@pytest.mark.parametrize("extreme", ["missed for certain", "unbounded covariance", "random"])
def test_whatever_a_memory_comes_to_hold_comes_back(extreme: str) -> None:
    world, rng = World(expected_recall=0.9999, max_objects=12), np.random.default_rng(3)
    if extreme == "missed for certain":
        world.show(thing(confidence=0.75), frames=4)
        world.show()
    elif extreme == "unbounded covariance":
        world.show(SceneObject({}, [0, 0, 0], position_covariance_m2=1e12 * np.eye(3)))
    else:
        for _ in range(40):
            world.show(*(SceneObject({"color": str(rng.integers(2))}, rng.normal(0, 10.0 ** rng.integers(-1, 5), 3),
                                     float(rng.normal()), rng.uniform(0, 2, 3), confidence=float(rng.random()))
                         for _ in range(4)))
    record = memory_to_dict(world.memory)
    other = SceneMemory(MAP)
    restore_memory(other, record)
    assert record["objects"] and memory_to_dict(other)["objects"] == record["objects"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "memory.json"
    path.write_text("before")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save_memory(_lived().memory, path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_restored_memory_takes_any_time_and_uses_no_name_again() -> None:
    record = memory_to_dict(_lived().memory)
    memory = SceneMemory(MAP)
    for i in range(60):
        memory.fuse(Scene([thing("gray", -2.0 + i % 5, 2.0)], MAP), FRONT, i)
    used = {t.id for t in memory.state().tracks} | {o["id"] for o in record["objects"]}
    restore_memory(memory, record)
    fusion = memory.fuse(Scene([thing("purple", -3.0)], MAP), FRONT, 0)
    assert fusion.ids[0] not in used
    assert all(int(fusion.ids[0].split("_")[1]) > int(name.split("_")[1]) for name in used)


def test_after_a_record_of_a_later_clock_new_objects_enter() -> None:
    world = World()
    world.stamp_ns = 10**18  # another run's clock, years ahead
    world.show(thing("red"), frames=5)
    memory = SceneMemory(MAP)
    restore_memory(memory, memory_to_dict(world.memory))
    for stamp_ns in range(10**9, 3 * 10**9, 10**8):
        memory.fuse(Scene([thing("red"), thing("blue", 2.0)], MAP), FRONT, stamp_ns)
    snapshot = memory.snapshot()
    assert {known.object.attributes["color"] for known in snapshot.objects} == {"red", "blue"}
    assert snapshot.stamp_ns == stamp_ns and snapshot.objects[0].id == world.ids()[0]


def _changed(path: str, value: object) -> dict:
    record = copy.deepcopy(memory_to_dict(_lived().memory))
    *parents, last = path.split(".")
    place = record
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return record


@pytest.mark.parametrize(("path", "value"), [
    ("format", "kyvo scene"), ("version", 2), ("version", None), ("frame_id", "odom"), ("objects", None),
    ("objects", [{}]), ("objects.0", 3), ("objects.1.id", "object_0"), ("objects.0.id", ""), ("objects.0.id", 5),
    ("objects.0.position_m", [0, 0]), ("objects.0.position_m", [0, 0, 1e300]), ("objects.0.position_m", "abc"),
    ("objects.0.covariance_m2", [[1, 0, 0]]), ("objects.0.covariance_m2", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    ("objects.0.existence", 1e6), ("objects.0.status", "gone"), ("objects.0.evidence", {"color": {}}),
    ("objects.0.evidence", {"color": {"red": 1e5}}), ("objects.0.evidence", [1]), ("objects.0.sightings", -1),
    ("objects.0.sightings", True), ("objects.0.size_m", [1, 1, -1]), ("objects.0.last_seen_ns", 0.5),
    ("objects.0.yaw", {"period_rad": 0, "cosine": 1, "sine": 0, "weight": 1}), ("objects.0.yaw", 7),
    ("relations", [["object_0", "left", "object_99"]]), ("relations", [["object_0", "over", "object_1"]]),
    ("relations", [["object_0", "left"]]), ("next_number", 10**30), ("behind_rad", float("nan")), ("stamp_ns", "now")])
def test_malformed_records_are_refused_and_change_nothing(path: str, value: object) -> None:
    memory = _lived().memory
    before = memory_to_dict(memory)
    with pytest.raises(MemoryRecordError):
        restore_memory(memory, _changed(path, value))
    assert memory_to_dict(memory) == before


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\udcff"])
def test_files_that_are_no_record_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "memory.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(MemoryRecordError):
        load_memory(SceneMemory(MAP), path)


def test_a_record_of_more_objects_than_may_be_is_refused() -> None:
    with pytest.raises(MemoryRecordError, match="raise max_objects"):
        restore_memory(SceneMemory(MAP, MemoryConfig(max_objects=2)), memory_to_dict(_lived().memory))


def test_the_record_is_plain_json() -> None:
    record = memory_to_dict(_lived().memory)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_graphml_has_a_node_for_each_object_and_an_edge_for_each_relation() -> None:
    snapshot = _lived().memory.snapshot()
    root = ElementTree.fromstring(to_graphml(snapshot))
    space = {"g": "http://graphml.graphdrawing.org/xmlns"}
    nodes = {n.get("id"): {d.get("key"): d.text for d in n} for n in root.findall(".//g:node", space)}
    assert set(nodes) == {"frame:map", "support_plane", *(k.id for k in snapshot.objects)}
    first = snapshot.objects[0]
    assert nodes[first.id]["label"] == first.object.label and nodes[first.id]["attribute.color"] == "red"
    assert float(nodes[first.id]["x_m"]) == first.object.position_m[0]
    assert nodes["frame:map"]["viewpoint"] == "camera" and nodes["frame:map"]["layer"] == "frame"
    edges = [(e.get("source"), e.find("g:data", space).text, e.get("target")) for e in root.findall(".//g:edge", space)]
    relations = [(r.subject_id, r.predicate, r.object_id) for r in snapshot.relations]
    assert edges == [*((k.id, "in_frame", "frame:map") for k in snapshot.objects), *relations]
    declared = {k.get("id") for k in root.findall("g:key", space)}
    assert {key for data in nodes.values() for key in data} | {"predicate"} == declared


def test_graphml_survives_words_that_xml_cannot_hold() -> None:
    world = World()
    world.show(thing('<&"\x00\x1b'), frames=3)
    assert "<&\"\ufffd\ufffd" in ElementTree.fromstring(to_graphml(world.memory.snapshot())).find(
        ".//{*}data[@key='attribute.color']").text
