"""The scene graph over real DDS: a moving camera in TF, late comers, services, files, questions."""

from __future__ import annotations

import json
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_pipeline import OBJECTS

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FakeNode, Tester, pixels, stamp  # noqa: E402
from kyvo_msgs.msg import Answer, SceneGraph  # noqa: E402
from kyvo_msgs.srv import (  # noqa: E402
    Ask, ExportSceneGraph, ForgetObject, GetSceneGraph, LoadSceneGraph, SaveSceneGraph)
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg  # noqa: E402
from kyvo_ros.scene import PlaneCamera, Transform  # noqa: E402

ERROR = 2
KEPT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)
PLANE = PlaneCamera(11.267, 0.4948)
#: The chain map -> base -> camera: a camera at the base's origin that looks along its +x, down at the ground.
BASE_R_PLANE = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
BASE_T_CAMERA = Transform(BASE_R_PLANE @ PLANE.plane_T_optical().rotation, np.zeros(3))
HEIGHT_M = PLANE.height_m()
AT_THE_TABLE = Transform.from_yaw(0.4, np.array([1.0, 2.0, HEIGHT_M]))
ELSEWHERE = Transform.from_yaw(0.4, np.array([1.0, 60.0, HEIGHT_M]))
SERVICES = {"get_scene_graph": GetSceneGraph, "reset_scene_graph": Trigger, "forget_object": ForgetObject,
            "save_scene_graph": SaveSceneGraph, "load_scene_graph": LoadSceneGraph,
            "export_scene_graph": ExportSceneGraph, "ask": Ask}


class Robot(Tester):
    """A robot with a camera, and whoever uses the node's scene graph."""

    def __enter__(self) -> Robot:
        super().__enter__()
        self.listen(SceneGraph, "scene_graph", KEPT)
        self.listen(MarkerArray, "scene_graph_markers", KEPT)
        self._clients = {name: self.node.create_client(kind, name) for name, kind in SERVICES.items()}
        return self

    def ask_for(self, service: str, **fields: Any) -> Any:
        """The response of a service to a request with these fields."""
        return self.call(self._clients[service], SERVICES[service].Request(**fields))

    def stand(self, map_T_base: Transform, stamp_ns: int) -> None:
        """Say where the robot is, and what its camera is like: best effort, so one that is lost comes again."""
        self.send_tf(map_T_base, "map", "base", stamp_ns)
        self.infos.publish(harness.calibration("camera"))

    def look(self, shown: int, map_T_base: Transform = AT_THE_TABLE, frames: int = 1) -> None:
        """So many frames in the graph, of images that show the first objects."""
        for _ in range(frames):
            stamp_ns = self.next_stamp()
            self.stand(map_T_base, stamp_ns)
            scene = self.answer(pixels((shown, 0, 0)), harness.calibration("camera"), stamp_ns=stamp_ns)
            self.wait(lambda: self.graph().header.stamp == scene.header.stamp, "the frame in the graph")

    def graph(self) -> SceneGraph:
        response = self.ask_for("get_scene_graph")
        assert response.success and response.message == ""
        return response.scene

    def ids(self) -> list[str]:
        return [item.id for item in self.graph().objects]

    def last_told(self, objects: int) -> SceneGraph:
        """The newest message of the topic, once it is of the graph as it is and has so many objects."""
        def told() -> list[SceneGraph]:
            now = self.graph()
            return [m for m in self.heard["scene_graph"][-1:] if len(m.objects) == objects
                    and (m.header.frame_id, m.revision) == (now.header.frame_id, now.revision)]
        return self.wait(told, f"a graph of {objects} objects")[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def started(tester: Tester, folder: Path) -> Iterator[Robot]:
    """A node that keeps a graph in `map`, whose support plane is the map's ground."""
    arguments = [f"{name}:={value}" for name, value in {
        "memory_frame": "map", "memory_folder": folder, "plane_frame": "base", "plane_height_m": -HEIGHT_M,
        "tf_timeout_s": 0.3}.items()]
    options = tuple(part for argument in arguments for part in ("-p", argument))
    with Robot("/graph") as robot, FakeNode(robot, folder.parent / "graph.log", options, ready=False) as node:
        robot.wait(lambda: robot.statuses() or not node.child.running(), "diagnostics")
        assert node.child.running(), node.log.read_text()
        topics = (robot.tf, robot.tf_static, robot.images, robot.infos)
        robot.wait(lambda: all(topic.get_subscription_count() for topic in topics), "inputs")
        robot.send_tf(BASE_T_CAMERA, "base", "camera", 0, robot.tf_static)
        robot.stand(AT_THE_TABLE, robot.now_ns)
        yield robot
        assert node.child.running(), f"the node ended:\n{node.log.read_text()}"


@pytest.fixture
def robot(started: Robot) -> Robot:
    """The robot at the table, with three objects in an otherwise new graph."""
    assert started.ask_for("reset_scene_graph").success
    started.look(3, frames=4)
    assert len(started.ids()) == 3
    return started


def test_a_graph_is_told_at_once_and_a_missing_transform_is_named(started: Robot) -> None:
    empty = started.last_told(0)
    assert (empty.header.frame_id, empty.header.stamp) == ("map", stamp(0))
    assert started.set_parameters(memory_frame="odom") == ""
    assert started.last_told(0).header.frame_id == "odom"
    try:
        def look() -> None:
            stamp_ns = started.next_stamp()
            started.stand(AT_THE_TABLE, stamp_ns)
            started.send_image(stamp_ns=stamp_ns)
        said = started.wait_said(ERROR, "the scene graph leaves frames out: TF ", look)
        assert said.startswith("transforms: ") and "'odom'" in said
        started.wait(lambda: int(started.values()["frames left out of the scene graph"]) > 0, "the count")
        assert started.heard["scene"], "the scene of the frame goes out all the same"
        assert started.graph().objects == []
    finally:
        assert started.set_parameters(memory_frame="map") == ""


def test_objects_keep_their_ids_while_the_camera_looks_away(robot: Robot) -> None:
    told, before = robot.last_told(3), robot.graph().objects
    assert [o.id for o in told.objects] == [o.id for o in before] and told.header.frame_id == "map"
    robot.look(1, ELSEWHERE, frames=8)  # another cube, in another place
    far = robot.graph()
    assert [(o.id, o.sightings) for o in far.objects[:3]] == [(o.id, o.sightings) for o in before]
    assert len(far.objects) == 4
    robot.look(3, AT_THE_TABLE, frames=2)
    back = robot.graph()
    assert [o.id for o in back.objects] == [o.id for o in far.objects]
    seen = [o.last_seen == back.header.stamp for o in back.objects]
    assert seen == [True, True, True, False]
    assert all(o.sightings >= known.sightings + 2 for o, known in zip(back.objects, before)), "an image may come twice"
    assert all(o.first_seen == told.objects[0].first_seen for o in back.objects[:3])


def test_poses_stand_in_the_map_and_stay_there_when_the_robot_turns(robot: Robot) -> None:
    before = scene_from_graph_msg(robot.graph())
    assert np.allclose(before.positions_m()[:, 2], [0.7, 0.35, 0.7], atol=0.01), "on the ground of the map"
    apart = np.linalg.norm(before.positions_m()[0, :2] - before.positions_m()[1, :2])
    assert apart == pytest.approx(np.hypot(OBJECTS[0]["x"] - OBJECTS[1]["x"], OBJECTS[0]["y"] - OBJECTS[1]["y"]))
    axis = PLANE.distance_m * np.cos(PLANE.elevation_rad)  # from the robot to the point that the camera looks at
    centre = AT_THE_TABLE.apply([axis, 0.0, -HEIGHT_M])
    assert np.linalg.norm(before.positions_m()[1, :2] - centre[:2]) == pytest.approx(
        np.hypot(OBJECTS[1]["x"], OBJECTS[1]["y"]), abs=0.01)


def test_what_is_gone_loses_probability_and_leaves_the_graph(robot: Robot) -> None:
    ids, before = robot.ids(), robot.graph().objects[2].score
    robot.look(2, frames=2)
    assert robot.graph().objects[2].score < before
    robot.look(2, frames=12)
    assert [o.id for o in robot.last_told(2).objects] == ids[:2]


def test_late_comers_get_the_graph_and_all_its_markers(robot: Robot) -> None:
    told, graphs, markers = robot.last_told(3), [], []
    subscriptions = [robot.node.create_subscription(SceneGraph, "scene_graph", graphs.append, KEPT),
                     robot.node.create_subscription(MarkerArray, "scene_graph_markers", markers.append, KEPT)]
    robot.wait(lambda: graphs and markers, "the kept graph and markers")
    assert graphs[0] == told
    shown = [m for m in markers[0].markers if m.action == Marker.ADD]
    assert [m.ns for m in shown].count("objects") == 3 and any(m.ns == "relations/left" for m in shown)
    for subscription in subscriptions:
        robot.node.destroy_subscription(subscription)


def test_the_topic_is_silent_while_nothing_changes(robot: Robot) -> None:
    robot.look(3, frames=2)
    robot.last_told(3)
    before = len(robot.heard["scene_graph"])
    robot.look(3, frames=6)
    assert len(robot.heard["scene_graph"]) == before
    assert robot.graph().revision == robot.heard["scene_graph"][-1].revision


def test_relations_hold_from_a_viewpoint_that_is_said(robot: Robot) -> None:
    graph = robot.graph()
    cube, sphere, _ = (o.id for o in graph.objects)
    assert graph.viewpoint == SceneGraph.CAMERA and graph.behind_rad == pytest.approx(0.4, abs=1e-6)
    said = {(r.subject_id, r.predicate, r.object_id) for r in graph.relations}
    assert {(cube, "left", sphere), (sphere, "right", cube), (cube, "on", "support_plane")} <= said
    assert robot.set_parameters(memory_viewpoint="frame") == ""
    robot.look(3, frames=1)
    graph = robot.graph()
    assert robot.set_parameters(memory_viewpoint="camera") == ""
    assert graph.viewpoint == SceneGraph.FRAME and graph.behind_rad == pytest.approx(np.pi / 2)
    places = {o.id: o.pose.pose.position for o in graph.objects}
    left = [(r.subject_id, r.object_id) for r in graph.relations if r.predicate == "left"]
    assert left and all(places[a].x < places[b].x for a, b in left), "left is -x of the map"


def test_part_of_the_graph(robot: Robot) -> None:
    part = robot.ask_for("get_scene_graph", words="red cube").scene
    assert [o.label for o in part.objects] == ["large red rubber cube"]
    assert all(r.predicate == "on" for r in part.relations)
    response = robot.ask_for("get_scene_graph", max_age_s=-1.0)
    assert not response.success and "max_age_s" in response.message and response.scene == SceneGraph()
    time.sleep(0.3)
    assert robot.ask_for("get_scene_graph", max_age_s=0.2).scene.objects == []


def test_forget_and_reset(robot: Robot) -> None:
    ids = robot.ids()
    assert robot.ask_for("forget_object", id=ids[1]).success
    assert [o.id for o in robot.last_told(2).objects] == [ids[0], ids[2]]
    response = robot.ask_for("forget_object", id=ids[1])
    assert not response.success and f"no object '{ids[1]}'" in response.message
    assert robot.ask_for("reset_scene_graph").success
    assert robot.last_told(0).header.frame_id == "map"
    robot.look(3, frames=4)
    assert len(robot.ids()) == 3 and not set(ids) & set(robot.ids()), "names are not used again"


def test_a_graph_is_saved_and_loaded(robot: Robot, folder: Path) -> None:
    ids = robot.ids()
    saved = robot.ask_for("save_scene_graph", path="rooms/kitchen.json")
    assert saved.success and Path(saved.written) == (folder / "rooms" / "kitchen.json").resolve()
    assert json.loads(Path(saved.written).read_text())["version"] == 1
    robot.ask_for("reset_scene_graph")
    loaded = robot.ask_for("load_scene_graph", path="rooms/kitchen.json")
    assert loaded.success and loaded.objects == 3 and robot.ids() == ids
    assert [o.id for o in robot.last_told(3).objects] == ids
    robot.look(3, frames=2)
    assert robot.ids() == ids, "what is seen again is what was loaded"


def test_files_that_are_bad_or_elsewhere_change_nothing(robot: Robot, folder: Path) -> None:
    ids = robot.ids()
    (folder / "torn.json").write_text('{"format": "kyvo scene memory", "vers')
    for service, path, reason in (
            ("load_scene_graph", "torn.json", "not a JSON document"), ("load_scene_graph", "none.json", "no file"),
            ("load_scene_graph", "../graph.log", "memory_folder"), ("save_scene_graph", "/tmp/a.json", "memory_folder"),
            ("save_scene_graph", "torn.json/a.json", "cannot write"), ("save_scene_graph", "", "memory_folder")):
        response = robot.ask_for(service, path=path)
        assert not response.success and reason in response.message, (service, path, response.message)
    assert robot.ids() == ids
    assert not list(folder.rglob("*.part"))


def test_exports(robot: Robot, folder: Path) -> None:
    response = robot.ask_for("export_scene_graph", format="graphml", path="kitchen.graphml")
    assert response.success
    root = ElementTree.parse(response.written).getroot()
    nodes = {n.get("id") for n in root.iter("{http://graphml.graphdrawing.org/xmlns}node")}
    assert {*robot.ids(), "frame:map", "support_plane"} == nodes
    response = robot.ask_for("export_scene_graph", format="pdf", path="a")
    assert not response.success and "graphml or moveit" in response.message
    try:
        import moveit_msgs.msg  # noqa: F401
    except ImportError:
        response = robot.ask_for("export_scene_graph", format="moveit")
        assert not response.success and "moveit_msgs is not installed" in response.message


def test_questions_on_the_graph_and_on_the_newest_image(robot: Robot) -> None:
    robot.look(1, ELSEWHERE, frames=1)  # the newest image shows one thing, which is not in the graph yet
    ids = robot.ids()

    def ask(question: str, **fields: Any) -> Answer:
        response = robot.ask_for("ask", question=question, **fields)
        assert response.success, response.message
        return response.answer
    assert ask("how many things are there").number == 1
    answer = ask("how many things are there", on_scene_graph=True)
    assert answer.number == 3 and answer.object_ids == ids and answer.header.frame_id == "map"
    place, known = ask("where is the sphere", on_scene_graph=True).point, robot.graph().objects[1].pose.pose.position
    assert np.allclose([place.x, place.y, place.z], [known.x, known.y, known.z])
    assert ask("what is left of the sphere", on_scene_graph=True).named_ids == [ids[0]]
    eye = ELSEWHERE.translation
    cube = robot.graph().objects[0].pose.pose.position
    assert ask("how far is the cube from the camera", on_scene_graph=True).number == pytest.approx(
        np.linalg.norm(eye - [cube.x, cube.y, cube.z]), abs=0.01)


@pytest.mark.parametrize("fields, reason", [
    ({"fresh": True}, "neither fresh nor an image"), ({"max_age_s": 1e-6}, "max_age_s = 1e-06")])
def test_questions_on_the_graph_that_cannot_be(robot: Robot, fields: dict, reason: str) -> None:
    response = robot.ask_for("ask", question="how many things are there", on_scene_graph=True, **fields)
    assert not response.success and reason in response.message


def test_without_a_memory_the_services_say_what_to_set(node: FakeNode, tester: Tester) -> None:
    def call(name: str, **fields: Any) -> Any:
        client = tester.node.create_client(SERVICES[name], name)
        response = tester.call(client, SERVICES[name].Request(**fields))
        tester.node.destroy_client(client)
        return response
    for name, fields in (("get_scene_graph", {}), ("reset_scene_graph", {}), ("forget_object", {"id": "object_0"}),
                         ("save_scene_graph", {"path": "a.json"})):
        response = call(name, **fields)
        assert not response.success and "set memory_frame" in response.message
    tester.answer()
    response = call("ask", question="how many things are there", on_scene_graph=True)
    assert not response.success and "set memory_frame" in response.message
