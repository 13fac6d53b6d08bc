"""The scene graph as messages: the graph, requests for parts of it, markers with arrows, and what MoveIt gets."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from geometry_msgs.msg import Point  # noqa: E402
from kyvo_msgs.msg import Attribute, Relation, SceneGraph  # noqa: E402
from kyvo_msgs.srv import GetSceneGraph  # noqa: E402
from shape_msgs.msg import SolidPrimitive  # noqa: E402
from visualization_msgs.msg import Marker  # noqa: E402

from kyvo_ros.data.assets import make_asset  # noqa: E402
from kyvo_ros.ros.conversions.collisions import (  # noqa: E402
    MoveItMissingError, moveit_messages, planning_scene_diff)
from kyvo_ros.ros.conversions.graph_markers import GraphMarkerBook  # noqa: E402
from kyvo_ros.ros.conversions.graphs import query_from_msg, snapshot_to_msg, stamp_to_msg  # noqa: E402
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg  # noqa: E402
from kyvo_ros.ros.graph import GraphError  # noqa: E402
from kyvo_ros.ros.graph_files import GraphFiles  # noqa: E402
from kyvo_ros.ros.graph_services import GraphServices  # noqa: E402
from kyvo_ros.scene import PinholeCamera, PlaneCamera, Scene, SceneObject  # noqa: E402
from kyvo_ros.scene.memory import (  # noqa: E402
    NEAR, ON, PAIR_RELATIONS, SUPPORT_PLANE_ID, MemoryInputError, SceneMemory, Viewpoint)

S = 10**9
CAMERA = Viewpoint(PinholeCamera(320, 240, 300.0, 300.0, 160.0, 120.0), PlaneCamera(8.0, 0.6).plane_T_optical())


def _thing(color: str, shape: str, x: float, y: float = 0.0, yaw: float | None = None) -> SceneObject:
    return SceneObject({"color": color, "shape": shape}, [x, y, 0.35], yaw, [0.7] * 3, confidence=0.9)


THINGS = (_thing("red", "cube", -1.0, yaw=0.3), _thing("blue", "sphere", 0.0), _thing("green", "cylinder", 1.0, 1.0))


def _remembered(*things: SceneObject, memory: SceneMemory | None = None, frames: int = 5, start_ns: int = 0):
    memory = memory or SceneMemory("map")
    for i in range(1, frames + 1):
        memory.fuse(Scene(things, "map"), CAMERA, start_ns + i * S)
    return memory


def test_the_message_holds_what_is_known_and_since_when() -> None:
    snapshot = _remembered(*THINGS).snapshot()
    message = snapshot_to_msg(snapshot)
    assert (message.header.frame_id, message.header.stamp) == ("map", stamp_to_msg(5 * S))
    assert (message.viewpoint, message.revision) == (SceneGraph.CAMERA, snapshot.revision)
    assert message.behind_rad == pytest.approx(math.pi / 2) and snapshot.revision > 0
    for item, known in zip(message.objects, snapshot.objects, strict=True):
        assert (item.first_seen, item.last_seen, item.sightings) == (stamp_to_msg(S), stamp_to_msg(5 * S), 5)
        assert item.score == pytest.approx(known.object.confidence) and item.score > 0.9
        covariance = np.reshape(item.pose.covariance, (6, 6))
        assert np.allclose(covariance[:3, :3], known.object.position_covariance_m2)
    assert np.reshape(message.objects[0].pose.covariance, (6, 6))[5, 5] == pytest.approx(
        snapshot.objects[0].yaw_sigma_rad**2)
    assert [(r.subject_id, r.predicate, r.object_id) for r in message.relations] == [
        (r.subject_id, r.predicate, r.object_id) for r in snapshot.relations]
    back = scene_from_graph_msg(message)
    assert [o.id for o in back.objects] == [k.id for k in snapshot.objects]
    assert back.objects[0].yaw_rad == pytest.approx(0.3) and back.objects[1].yaw_rad is None


def test_the_message_names_every_relation_of_a_memory() -> None:
    named = {getattr(Relation, name) for name in ("LEFT", "RIGHT", "FRONT", "BEHIND", "NEAR", "ON")}
    assert named == {*PAIR_RELATIONS, ON} and NEAR in named and Relation.SUPPORT_PLANE == SUPPORT_PLANE_ID


def test_stamps_that_a_message_cannot_hold_are_the_latest_that_it_can() -> None:
    assert (stamp_to_msg(None).sec, stamp_to_msg(1_500_000_000).nanosec) == (0, 500_000_000)
    assert stamp_to_msg(2**62).sec == 2**31 - 1


def test_a_request_without_conditions_asks_for_everything() -> None:
    snapshot = _remembered(*THINGS).snapshot()
    assert len(snapshot.select(query_from_msg(GetSceneGraph.Request())).objects) == 3


@pytest.mark.parametrize("fields, colors", [
    ({"words": "cube"}, ["red"]), ({"words": " sphere  blue "}, ["blue"]), ({"words": "red sphere"}, []),
    ({"attributes": [Attribute(name="shape", value="cylinder")]}, ["green"]),
    ({"region_min": Point(x=-0.5, y=-1.0), "region_max": Point(x=2.0, y=2.0, z=1.0)}, ["blue", "green"]),
    ({"max_age_s": 2.5}, ["red", "blue"]), ({"min_probability": 0.999}, []),
])
def test_each_condition_of_a_request_counts(fields: dict, colors: list) -> None:
    memory = _remembered(*THINGS)
    snapshot = _remembered(*THINGS[:2], memory=memory, frames=3, start_ns=5 * S).snapshot()
    part = snapshot.select(query_from_msg(GetSceneGraph.Request(**fields)))
    assert [k.object.attributes["color"] for k in part.objects] == colors


@pytest.mark.parametrize("fields", [
    {"max_age_s": -1.0}, {"min_probability": 2.0}, {"region_max": Point(x=-1.0)}, {"region_max": Point(x=math.nan)}])
def test_requests_that_cannot_be_meant_are_refused(fields: dict) -> None:
    with pytest.raises(MemoryInputError):
        query_from_msg(GetSceneGraph.Request(**fields))


def _keys(message, action: int) -> set[tuple[str, int]]:
    return {(m.ns, m.id) for m in message.markers if m.action == action}


def test_arrows_lead_from_subject_to_object_and_keep_their_keys() -> None:
    memory, book = _remembered(*THINGS), GraphMarkerBook()
    snapshot = memory.snapshot()
    first, again = book.update(snapshot), book.update(snapshot)
    assert _keys(first, Marker.ADD) == _keys(again, Marker.ADD) and not _keys(again, Marker.DELETE)
    arrows = [m for m in first.markers if m.type == Marker.ARROW]
    assert [m.ns for m in arrows].count("relations/left") == 2, "not the one that follows from both"
    ends = [[(p.x, p.y) for p in m.points] for m in arrows if m.ns == "relations/left"]
    places = [tuple(k.object.position_m[:2]) for k in snapshot.objects]
    assert ends == [[places[0], places[1]], [places[1], places[2]]]
    assert all(m.header.frame_id == "map" and m.scale.y > m.scale.x > 0 and m.color.a > 0 for m in arrows)
    assert all((m.lifetime.sec, m.lifetime.nanosec) == (0, 0) for m in first.markers), "they stay until deleted"


def test_what_is_no_more_is_deleted_once_and_the_rest_is_drawn_again() -> None:
    memory, book = _remembered(*THINGS), GraphMarkerBook()
    before = _keys(book.update(memory.snapshot()), Marker.ADD)
    memory.forget(memory.snapshot().objects[0].id)
    after = book.update(memory.snapshot())
    kept, gone = _keys(after, Marker.ADD), _keys(after, Marker.DELETE)
    assert kept < before and gone == before - kept and {ns for ns, _ in gone} >= {"objects", "labels", "relations/left"}
    assert _keys(book.update(memory.snapshot()), Marker.DELETE) == set()
    assert _keys(book.clear(after.markers[0].header), Marker.DELETE) == kept
    assert book.clear(after.markers[0].header).markers == []


class _Message(SimpleNamespace):
    """Stands in for a message of moveit_msgs, which no wheel has: its fields are those that are set."""

    ADD, REMOVE = b"\x00", b"\x01"


@pytest.fixture
def moveit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("moveit_msgs.msg")
    module.CollisionObject = _Message
    module.PlanningScene = lambda **fields: _Message(robot_state=_Message(), world=_Message(), **fields)
    package = ModuleType("moveit_msgs")
    package.msg = module
    monkeypatch.setitem(sys.modules, "moveit_msgs", package)
    monkeypatch.setitem(sys.modules, "moveit_msgs.msg", module)
    return module


def test_moveit_gets_primitives_of_the_right_sizes(moveit: ModuleType) -> None:
    snapshot = _remembered(*THINGS).snapshot()
    scene = planning_scene_diff(snapshot, {"object_8", "object_7"}, moveit_messages())
    assert scene.is_diff and scene.robot_state.is_diff
    objects = scene.world.collision_objects
    assert [(o.id, o.operation) for o in objects[:2]] == [("object_7", _Message.REMOVE), ("object_8", _Message.REMOVE)]
    added = objects[2:]
    assert [o.id for o in added] == [k.id for k in snapshot.objects]
    assert all(o.operation == _Message.ADD and o.header.frame_id == "map" for o in added)
    box, sphere, cylinder = (o.primitives[0] for o in added)
    assert (box.type, list(box.dimensions)) == (SolidPrimitive.BOX, pytest.approx([0.7] * 3))
    assert (sphere.type, list(sphere.dimensions)) == (SolidPrimitive.SPHERE, pytest.approx([0.35]))
    assert (cylinder.type, list(cylinder.dimensions)) == (SolidPrimitive.CYLINDER, pytest.approx([0.7, 0.35]))
    pose = added[0].primitive_poses[0]
    assert pose.position.x == pytest.approx(-1.0) and pose.orientation.z == pytest.approx(math.sin(0.15))


def _with_shape() -> SceneMemory:
    """The cube has one."""
    memory = _remembered(*THINGS)
    memory.see_shapes(Scene((replace(THINGS[0], mesh=make_asset("mug", 0)), *THINGS[1:]), "map"))
    return memory


def test_the_message_holds_the_shapes_that_are_known() -> None:
    snapshot = _with_shape().snapshot()
    message = snapshot_to_msg(snapshot)
    assert [mesh.id for mesh in message.meshes] == [snapshot.objects[0].id]
    again = scene_from_graph_msg(message)
    assert [item.mesh is not None for item in again.objects] == [True, False, False]
    mesh, known = again.objects[0].mesh, snapshot.objects[0].object.mesh
    assert np.array_equal(mesh.vertices, known.vertices) and np.array_equal(mesh.colors, known.colors)
    assert snapshot_to_msg(snapshot).meshes[0].mesh is message.meshes[0].mesh, "made once, since graphs are told often"
    part = snapshot.select(query_from_msg(GetSceneGraph.Request(words="sphere")))
    assert list(snapshot_to_msg(part).meshes) == []


def test_markers_show_the_shapes_that_are_known() -> None:
    snapshot = _with_shape().snapshot()
    cube, sphere, _ = (m for m in GraphMarkerBook().update(snapshot).markers if m.ns == "objects")
    mesh = snapshot.objects[0].object.mesh
    assert cube.type == Marker.TRIANGLE_LIST and len(cube.points) == len(cube.colors) == 3 * len(mesh.faces)
    assert cube.scale.x == 1.0 and cube.pose.position.x == pytest.approx(-1.0)
    corner, point = mesh.vertices[mesh.faces[0, 0]], cube.points[0]
    assert (point.x, point.y, point.z) == tuple(corner)
    assert sphere.type == Marker.SPHERE and not sphere.points


def test_moveit_gets_the_shapes_that_are_known(moveit: ModuleType) -> None:
    snapshot = _with_shape().snapshot()
    cube, sphere, _ = planning_scene_diff(snapshot, (), moveit_messages()).world.collision_objects
    assert len(cube.meshes[0].triangles) == len(make_asset("mug", 0).faces) and not hasattr(cube, "primitives")
    assert cube.mesh_poses[0].position.x == pytest.approx(-1.0)
    assert sphere.primitives and not hasattr(sphere, "meshes")


def test_moveit_gets_nothing_of_unknown_size(moveit: ModuleType) -> None:
    plain = copy.copy(THINGS[0])
    object.__setattr__(plain, "size_m", None)
    assert planning_scene_diff(_remembered(plain).snapshot(), (), moveit).world.collision_objects == []


class _Node:
    """What GraphServices needs of a node; what is published is kept in `sent`."""

    def __init__(self) -> None:
        self.sent: list[_Message] = []

    def create_service(self, *_: object, **__: object) -> None: ...

    def get_fully_qualified_name(self) -> str:
        return "/arm/kyvo_node"

    def create_publisher(self, kind: object, topic: str, qos: object) -> SimpleNamespace:
        return SimpleNamespace(topic_name=f"/arm/{topic}", publish=self.sent.append)


def _exported(services: GraphServices) -> tuple[str, list[str], list[str]]:
    """What an export to MoveIt says, removes and has in the planning scene."""
    response = services._to_moveit()
    assert response["written"] == "/arm/planning_scene"
    objects = services._node.sent[-1].world.collision_objects
    removed = [o.id for o in objects if o.operation == _Message.REMOVE]
    return response["message"], removed, [o.id for o in objects if o.id not in removed]


def test_what_is_gone_is_removed_from_the_planning_scene_also_after_a_restart(
        moveit: ModuleType, tmp_path: Path) -> None:
    memory = _remembered(*THINGS)

    def started() -> GraphServices:
        return GraphServices(_Node(), SimpleNamespace(snapshot=memory.snapshot), GraphFiles(str(tmp_path)))
    ids = [known.id for known in memory.snapshot().objects]
    first = started()
    assert _exported(first) == ("", [], ids)
    memory.forget(ids[0])
    assert _exported(first) == ("", ids[:1], ids[1:])
    memory.forget(ids[1])
    second = started()
    assert _exported(second) == ("", ids[1:2], ids[2:]) and _exported(second) == ("", [], ids[2:])
    assert _exported(started()) == ("", [], ids[2:]), "once is enough"
    (tmp_path / "planning_scene.arm.kyvo_node.json").write_text('{"a": 1}')
    with pytest.raises(GraphError, match="planning_scene.arm.kyvo_node.json holds no list of ids; delete it"):
        started()._to_moveit()


def test_an_export_to_moveit_says_where_a_restart_would_forget_it(moveit: ModuleType, tmp_path: Path) -> None:
    memory, folder = _remembered(*THINGS), tmp_path / "graphs"
    services = GraphServices(_Node(), SimpleNamespace(snapshot=memory.snapshot), GraphFiles(str(folder)))
    folder.write_text("a file, where a folder is needed")
    said, _, added = _exported(services)
    assert "after a restart of the node" in said and "cannot write" in said and len(added) == 3


def test_without_moveit_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "moveit_msgs", None)
    with pytest.raises(MoveItMissingError, match="moveit-msgs"):
        moveit_messages()
