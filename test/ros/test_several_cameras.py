"""Several cameras of one node over real DDS: topics, settings of their own, switching, coming and going."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FakeNode, Tester, calibration, image_to_msg, pixels, stamp  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Ask, Edit, Recognize, Reconstruct, Render  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402
from test_security import _policy, _running  # noqa: E402

from kyvo_ros.ros.conversions import image_from_msg  # noqa: E402

OK, WARN, ERROR = 0, 1, 2
NODE = ("kyvo_node", "/rig")


class Eye:
    """A camera of the rig: it shows as many objects as it is told."""

    def __init__(self, rig: Tester, name: str) -> None:
        self.rig, self.name, self.scene_topic = rig, name, f"{name}/scene"
        self.images = rig.node.create_publisher(Image, f"{name}/image", qos_profile_sensor_data)
        self.infos = rig.node.create_publisher(CameraInfo, f"{name}/camera_info", qos_profile_sensor_data)
        self.ear = rig.listen(SceneGraph, self.scene_topic)

    def send(self, shown: int = 3) -> int:
        stamp_ns = self.rig.next_stamp()
        self.infos.publish(calibration("eye"))
        self.images.publish(image_to_msg(pixels((shown, 0, 0)), Header(stamp=stamp(stamp_ns), frame_id="eye")))
        return stamp_ns

    def answer(self, shown: int = 3) -> SceneGraph:
        """Send images until the scene of one comes."""
        sent: list[Any] = []

        def came() -> list[SceneGraph]:
            sent.append(stamp(self.send(shown)))
            time.sleep(0.05)
            return [m for m in self.rig.heard[self.scene_topic] if m.header.stamp in sent]
        return self.rig.wait(came, f"a scene of {self.name}")[-1]

    def close(self) -> None:
        for publisher in (self.images, self.infos):
            self.rig.node.destroy_publisher(publisher)
        self.rig.node.destroy_subscription(self.ear)

    def said(self, stage: str = "") -> tuple[int, str]:
        """Level and message of the camera, or of one of its stages."""
        return self.rig.statuses().get(f"{self.name}: {stage}" if stage else self.name, (-1, ""))

    def figures(self) -> dict[str, str]:
        newest = self.rig.heard["/diagnostics"][-1]
        mine = [s for s in newest.status if s.name.endswith(f"kyvo_node: {self.name}")]
        return {value.key: value.value for status in mine for value in status.values}


@pytest.fixture(scope="module")
def rig(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tester]:
    """A client and a node with the cameras front and left, of which front has a parameter of its own from the start."""
    log = tmp_path_factory.mktemp("rig") / "log"
    arguments = ("-p", "cameras:=[front, left]", "-p", "front.confidence_threshold:=0.1", "-p", "rear.max_rate_hz:=5")
    with Tester("/rig") as made, FakeNode(made, log, arguments, ready=False) as node:
        made.wait(lambda: made.statuses() or not node.child.running(), "diagnostics")
        assert node.child.running(), log.read_text()
        yield made
        assert node.child.end() == 0, log.read_text()
        assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def eyes(rig: Tester) -> Iterator[Callable[[str], Eye]]:
    made: dict[str, Eye] = {}

    def eye(name: str) -> Eye:
        if name not in made:
            made[name] = Eye(rig, name)
        return made[name]
    yield eye
    for item in made.values():
        item.close()


def _own(rig: Tester, name: str, value: Any) -> str:
    """Set a parameter whose name is no Python name; the reason of a refusal."""
    return rig.set_parameters(**{name: value})


def _give_depth(rig: Tester, source: str, subscriptions: int) -> None:
    """Set `depth_source` of both cameras, and see the node follow."""
    for topic in ("front/depth", "left/depth"):
        assert _own(rig, f"{topic.split('/')[0]}.depth_source", source) == ""
    rig.wait(lambda: all(rig.node.count_subscribers(f"/rig/{topic}") == subscriptions
                         for topic in ("front/depth", "left/depth")), f"{subscriptions} subscription(s) to depth")


def test_each_camera_has_its_own_scenes(rig: Tester, eyes) -> None:
    front, left = eyes("front").answer(1), eyes("left").answer(2)
    assert (len(front.objects), len(left.objects)) == (1, 2)
    assert not rig.heard["scene"] and not rig.node.count_publishers("/rig/scene")


def test_each_camera_has_its_own_diagnostics(rig: Tester, eyes) -> None:
    front, left = eyes("front"), eyes("left")
    left.answer()

    def bad() -> bool:
        front.images.publish(Image(encoding="nv99", header=Header(frame_id="eye")))
        time.sleep(0.1)
        return front.said("image")[0] == ERROR
    rig.wait(bad, "front's bad image")
    assert left.said("image") == (OK, "ok") and rig.said().startswith("front: image: ")
    assert rig.values()["cameras"] == "front, left" and rig.values()["model"] == "fake"
    assert int(front.figures()["dropped: bad_image"]) > 0 and front.figures()["image topic"] == "/rig/front/image"
    assert rig.statuses()["model"] == (OK, "ok") and "front: model" not in rig.statuses()


def test_the_policy_names_what_a_camera_has(rig: Tester) -> None:
    _give_depth(rig, "image", 1)
    single, found = _policy("/rig"), _running(rig, "/rig")
    _give_depth(rig, "none", 0)
    of_camera = {"image", "camera_info", "depth", "scene", "detections", "markers", "annotated_image"}
    expected = {}
    for kind, names in single.items():
        expected[kind] = {name for name in names if name.removeprefix("/rig/") not in of_camera}
        expected[kind] |= {f"/rig/{camera}/{name}" for camera in ("front", "left") for name in of_camera
                           if f"/rig/{name}" in names}
    expected["services", "reply"] |= {"/rig/front/enable", "/rig/left/enable"}
    expected["topics", "subscribe"] -= {"/rig/image/compressed", "/rig/points", "/clock", "/tf", "/tf_static"}
    found["topics", "subscribe"] -= {"/clock"}
    expected["topics", "publish"] -= {"/rig/planning_scene"}  # which the first export to MoveIt makes
    assert found == expected, "docs/security.md says that these are the names"


def test_a_camera_s_own_parameter_holds_for_it_alone(rig: Tester, eyes) -> None:
    assert _own(rig, "front.confidence_threshold", 0.95) == ""
    assert not eyes("front").answer().objects and eyes("left").answer().objects
    assert _own(rig, "front.confidence_threshold", None) == ""
    assert eyes("front").answer().objects, "without one of its own it follows the node's"
    assert _own(rig, "confidence_threshold", 0.95) == "" and not eyes("front").answer().objects
    assert _own(rig, "front.confidence_threshold", 0) == "" and eyes("front").answer().objects
    assert not eyes("left").answer().objects
    assert _own(rig, "confidence_threshold", 0.0) == ""


@pytest.mark.parametrize("name, value, reason", [
    ("front.max_rate_hz", -1.0, "max_rate_hz"), ("front.scale", "miles", "camera front: scale must be one of"),
    ("front.roi", [0, 0, 1], "camera front: roi must be four numbers"), ("cameras", ["a/b"], "a camera's name must"),
    ("front.mask", "gone.png", "camera front: the mask"), ("front.support_plane_frame", "", "must not be empty"),
    ("cameras", ["front", "front"], "names 'front' twice"), ("cameras", ["scale"], "which is a parameter"),
])
def test_what_cannot_be_is_refused_with_the_reason(rig: Tester, name: str, value: Any, reason: str) -> None:
    assert reason in _own(rig, name, value)


def test_a_camera_is_switched_off_and_on(rig: Tester, eyes) -> None:
    front = eyes("front")
    client = rig.node.create_client(SetBool, "front/enable")
    assert rig.call(client, SetBool.Request(data=False)).success
    rig.wait(lambda: not front.images.get_subscription_count(), "that nobody listens to front")
    rig.wait(lambda: eyes("left").images.get_subscription_count() == 1, "somebody to listen to left")
    rig.wait(lambda: "switched off" in front.said("image")[1], "a word on it")
    assert front.said("image")[0] == OK and eyes("left").answer().objects
    assert rig.call(client, SetBool.Request(data=True)).success
    assert front.answer(2).objects
    rig.node.destroy_client(client)


def test_nobody_listens_and_nothing_is_computed_where_that_is_wished(rig: Tester, eyes) -> None:
    left = eyes("left")
    assert _own(rig, "left.lazy", True) == ""
    assert left.answer().objects, "somebody listens"
    rig.node.destroy_subscription(left.ear)
    rig.wait(lambda: (left.send(), int(left.figures().get("dropped: no_listener", 0)) > 0)[1], "images left out")
    assert eyes("front").answer().objects, "which is not lazy"
    left.ear = rig.listen(SceneGraph, left.scene_topic)
    assert left.answer(1).objects
    assert _own(rig, "left.lazy", False) == ""


def test_a_camera_without_tf_holds_up_no_other(rig: Tester, eyes) -> None:
    left = eyes("left")
    assert rig.set_parameters(tf_timeout_s=5.0) == "" and _own(rig, "left.plane_frame", "nowhere") == ""
    start_s = time.monotonic()
    for _ in range(5):
        left.send()
        assert eyes("front").answer().objects
    assert time.monotonic() - start_s < 15.0, "and not each time five seconds later"
    rig.wait(lambda: (left.send(), time.sleep(0.1), "does not know frame 'nowhere'" in left.said("transforms")[1])[2],
             "what left waits for")
    assert _own(rig, "left.plane_frame", None) == "" and rig.set_parameters(tf_timeout_s=0.2) == ""
    assert left.answer().objects


def test_every_camera_has_a_support_plane(rig: Tester, eyes) -> None:
    assert _own(rig, "output_frame", "support_plane") == ""
    assert eyes("front").answer().header.frame_id == "front_support_plane"
    assert eyes("left").answer().header.frame_id == "left_support_plane"
    assert _own(rig, "output_frame", "") == ""


def test_cameras_come_and_go(rig: Tester, eyes) -> None:
    assert "undeclared" in _own(rig, "rear.lazy", True), "a camera must be there first"
    assert _own(rig, "cameras", ["front", "left", "rear"]) == ""
    rear = eyes("rear")
    assert len(rear.answer(2).objects) == 2
    get = rig.node.create_client(GetParameters, "kyvo_node/get_parameters")
    rate = rig.call(get, GetParameters.Request(names=["rear.max_rate_hz"])).values[0]
    assert rate.integer_value == 5, "what the start said of it"
    assert _own(rig, "cameras", ["front", "rear"]) == ""
    rig.wait(lambda: not rig.node.count_publishers("/rig/left/scene"), "left to go")
    rig.wait(lambda: not eyes("left").images.get_subscription_count(), "nobody to listen to it")
    assert rig.call(get, GetParameters.Request(names=["left.lazy"])).values == []
    assert rear.answer(1).objects and eyes("front").answer(1).objects
    assert _own(rig, "cameras", ["front", "left"]) == "" and eyes("left").answer(3).objects
    rig.node.destroy_client(get)


def test_a_camera_of_eight_megapixels(rig: Tester, eyes) -> None:
    """Reliable, since best effort loses fragments of 25 MB where the sockets' buffers are small."""
    left = eyes("left")
    assert _own(rig, "left.image_qos", "reliable") == ""
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    left.images, sensor = rig.node.create_publisher(Image, "left/image", qos), left.images
    rig.wait(left.images.get_subscription_count, "the node to listen")
    picture = image_to_msg(np.full((2160, 3840, 3), 255, np.uint8), Header(frame_id="large"))
    sent: list[Any] = []

    def came() -> list[SceneGraph]:
        left.infos.publish(calibration("large", width=3840, height=2160))  # best effort, so again and again
        if time.monotonic() > due_s[-1]:
            due_s.append(time.monotonic() + 5.0)
            sent.append(stamp(rig.next_stamp()))
            picture.header.stamp = sent[-1]
            left.images.publish(picture)
        return [m for m in rig.heard["left/scene"] if m.header.stamp in sent]
    due_s = [0.0]
    rig.wait(came, "its scene")
    rig.node.destroy_publisher(left.images)
    left.images = sensor
    assert _own(rig, "left.image_qos", "sensor_data") == "" and eyes("left").answer().objects


def test_the_services_speak_of_the_newest_image_of_all(rig: Tester, eyes) -> None:
    for name, shown in (("front", 1), ("left", 2), ("front", 3)):
        eyes(name).answer(shown)
        response = rig.call(rig.recognize, Recognize.Request())
        assert response.success and len(response.scene.objects) == shown


@pytest.fixture
def call(rig: Tester) -> Iterator[Callable[..., Any]]:
    """Calls a service of the node by the type of its request."""
    names = {Ask: "ask", Edit: "edit", Recognize: "recognize", Reconstruct: "reconstruct", Render: "render"}
    clients = {kind: rig.node.create_client(kind, name) for kind, name in names.items()}
    yield lambda kind, **fields: rig.call(clients[kind], kind.Request(**fields))
    for client in clients.values():
        rig.node.destroy_client(client)


def test_a_request_names_its_camera(rig: Tester, eyes, call) -> None:
    eyes("front").answer(1)
    eyes("left").answer(2)
    # Left's is the newest of all; more of its images may be on their way.
    rig.wait(lambda: call(Recognize).scene == call(Recognize, camera="left").scene, "the same of left and of all")
    question = "how many things are there?"
    for name, shown in (("front", 1), ("left", 2)):
        assert len(call(Recognize, camera=name).scene.objects) == shown
        assert len(call(Reconstruct, camera=name).scene.objects) == shown
        for fresh in (False, True):
            answer = call(Ask, question=question, camera=name, fresh=fresh).answer
            assert answer.text == str(shown), answer
        assert image_from_msg(call(Render, camera=name).image)[0, 0, 0] == shown
    assert len(call(Edit, instruction="remove the sphere", camera="left").scene.objects) == 1
    assert call(Edit, instruction="remove the sphere", camera="front").refusal == "none"
    given = image_to_msg(pixels((3, 0, 0)), Header(frame_id="eye"))
    assert len(call(Recognize, camera="front", image=given).scene.objects) == 3


def test_a_request_for_a_camera_that_is_not_there(rig: Tester, eyes, call) -> None:
    kinds = {Recognize: {}, Reconstruct: {}, Render: {}, Ask: {"question": "where is the sphere?"},
             Edit: {"instruction": "remove the sphere"}}
    for kind, fields in kinds.items():
        response = call(kind, camera="rear", **fields)
        assert not response.success and response.message == (
            "there is no camera 'rear'; leave camera empty or name 'front', 'left'"), kind
    assert not call(Ask, question="where is the sphere?", camera="front", on_scene_graph=True).success


def test_what_a_camera_saw_before_it_was_switched_off_is_not_its_newest_image(rig: Tester, eyes, call) -> None:
    eyes("front").answer(1)
    assert _own(rig, "front.enabled", False) == ""
    response = call(Recognize, camera="front")
    assert not response.success and "none of camera 'front' yet" in response.message
    assert _own(rig, "front.enabled", True) == ""
    eyes("front").answer(2)
    assert len(call(Recognize, camera="front").scene.objects) == 2


def test_without_names_the_node_has_its_one_camera_again(rig: Tester, eyes) -> None:
    assert _own(rig, "cameras", [""]) == ""
    rig.wait(lambda: rig.images.get_subscription_count() and rig.infos.get_subscription_count(), "its inputs")
    assert rig.answer(info=calibration("camera")).objects
    assert set(rig.wait(lambda: "image" in rig.statuses() and rig.statuses(), "its diagnostics")) == {
        "", "model", "image", "camera_info", "transforms", "depth", "inference"}


def test_a_bad_start_value_of_a_camera_ends_the_node_with_one_line(tester: Tester, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["-p", "cameras:=[front]", "-p", "front.scale:=miles"]
    with harness.Child([*harness.FAKE_NODE, "--ros-args", *arguments], log) as child:
        assert child.process.wait(60.0) == 2
    assert "camera front: scale must be one of" in log.read_text() and "Traceback" not in log.read_text()
