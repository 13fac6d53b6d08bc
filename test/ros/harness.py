"""A client for tests of the node: publishes, listens, sets parameters, waits; and the node as a child process."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

# Before rclpy: DDS on the loopback only, in a domain of this run, unless `make test` has done so already.
_PROFILE = Path(__file__).resolve().parents[2] / "config" / "loopback_dds.xml"
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 101)))
os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(_PROFILE))

import numpy as np  # noqa: E402
import rclpy  # noqa: E402
from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from fake_pipeline import begun  # noqa: E402
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from kyvo_msgs.srv import Recognize  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParametersAtomically  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from kyvo_ros.ros.children import Child  # noqa: E402
from kyvo_ros.ros.conversions import image_to_msg  # noqa: E402
from kyvo_ros.ros.executor import spin  # noqa: E402
from kyvo_ros.ros.settings import Settings  # noqa: E402
from kyvo_ros.scene import Transform as Pose  # noqa: E402

FAKE_NODE = (sys.executable, str(Path(__file__).with_name("fake_pipeline.py")))
WHITE = np.full((240, 320, 3), 255, np.uint8)
S = 10**9
#: How long something is waited for that comes soon on an idle machine; others may be busy. pytest gives a test 120 s.
PATIENCE_S = 40.0
_DOMAIN, _APART = int(os.environ["ROS_DOMAIN_ID"]), itertools.cycle(range(1, 10))


def next_domain() -> int:
    """A DDS domain beside that of this run, for what a test starts apart: another one each time, since a process that
    was killed seems alive for a while. There are nine.
    """
    return (_DOMAIN - 1 + next(_APART)) % 101 + 1


def pixels(first: tuple[int, int, int]) -> np.ndarray:
    """An image whose first pixel steers the fake pipeline."""
    made = WHITE.copy()
    made[0, 0] = first
    return made


def stamp(ns: int) -> Time:
    return Time(sec=ns // S, nanosec=ns % S)


def calibration(frame_id: str, stamp_ns: int = 0, **fields) -> CameraInfo:
    values = {"width": 320, "height": 240, "distortion_model": "plumb_bob", "d": [0.0] * 5,
              "k": [352.0, 0.0, 159.5, 0.0, 352.0, 119.5, 0.0, 0.0, 1.0]}
    return CameraInfo(header=Header(stamp=stamp(stamp_ns), frame_id=frame_id), **{**values, **fields})


def wait_for(condition: Callable[[], Any], limit_s: float) -> Any:
    """The first true value of the condition, or what it is after a time."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


class Tester:
    """Everything heard is kept in `heard[topic]`; stamps of images only grow unless a test says otherwise."""

    __test__ = False  # no test class, in spite of its name

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace

    def __enter__(self) -> Tester:
        if not rclpy.ok():
            rclpy.init()
        self.node = rclpy.create_node("tester", namespace=self.namespace)
        self.heard: dict[str, list[Any]] = defaultdict(list)
        self._met: set[Any] = set()  # clients that the node in front of it knows
        self._known = False  # whether that node knows all that is listened to here
        self.now_ns = 1000 * S
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.images = self.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self.tf = self.node.create_publisher(TFMessage, "/tf", 100)
        self.tf_static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self.listen(SceneGraph, "scene")
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.recognize = self.node.create_client(Recognize, "recognize")
        self.setter = self.node.create_client(SetParametersAtomically, "kyvo_node/set_parameters_atomically")
        self._executor, self._stop = SingleThreadedExecutor(), threading.Event()
        self._executor.add_node(self.node)
        # The node's own loop: rclpy raises in it where a test destroys a subscription meanwhile.
        self._thread = threading.Thread(target=spin, args=(self._executor, self.node, self._stop), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._executor.shutdown()
        self._thread.join(10.0)
        self.node.destroy_node()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if message.status[0].name == f"{self.namespace}/kyvo_node":
            self.heard["/diagnostics"].append(message)

    def listen(self, kind: type, topic: str, qos: Any = 10) -> Any:
        """Subscribe; messages go to `heard[topic]`."""
        self._known = False
        return self.node.create_subscription(kind, topic, lambda m: self.heard[topic].append(m), qos)

    def forget(self) -> None:
        for messages in self.heard.values():
            messages.clear()

    def forget_node(self) -> None:
        """Another node takes the place of the one so far, whose words do not count any more."""
        self.heard["/diagnostics"].clear()
        self._met.clear()
        self._known = False

    def node_seems_alive(self) -> bool:
        """Whether a node of this namespace is on the graph; one that was killed stays there for a while."""
        return (("kyvo_node", self.namespace or "/") in self.node.get_node_names_and_namespaces()
                or bool(self.images.get_subscription_count()))

    def wait(self, condition: Callable[[], Any], what: str, limit_s: float = PATIENCE_S) -> Any:
        """The first true value of the condition. Fails with `what` and the node's own words."""
        value = wait_for(condition, limit_s)
        assert value, f"{what} within {limit_s} s; the node says: {self.said()}"
        return value

    # --- sending

    def next_stamp(self, step_s: float = 0.1) -> int:
        self.now_ns += int(step_s * S)
        return self.now_ns

    def send_image(self, image: np.ndarray = WHITE, frame_id: str = "camera", stamp_ns: int | None = None,
                   **fields) -> int:
        """Publish an image and return its stamp; `fields` replace fields of the message."""
        stamp_ns = self.next_stamp() if stamp_ns is None else stamp_ns
        message = image_to_msg(image, Header(stamp=stamp(stamp_ns), frame_id=frame_id))
        for name, value in fields.items():
            setattr(message, name, value)
        self.images.publish(message)
        return stamp_ns

    def send_tf(self, pose: Pose, parent: str, child: str, stamp_ns: int, publisher: Any = None) -> None:
        x, y, z, w = pose.quaternion().tolist()
        (publisher or self.tf).publish(TFMessage(transforms=[TransformStamped(
            header=Header(stamp=stamp(stamp_ns), frame_id=parent), child_frame_id=child, transform=Transform(
                translation=Vector3(**dict(zip("xyz", pose.translation.tolist()))),
                rotation=Quaternion(x=x, y=y, z=z, w=w)))]))

    def meet(self, client: Any, limit_s: float = PATIENCE_S) -> None:
        """Wait until `client` can call and the node knows it: a service drops its answers to clients that it has not
        discovered yet.
        """
        assert client.wait_for_service(limit_s), f"no service {client.srv_name}"
        if client not in self._met or not self._known:
            self.be_known(limit_s)
            self._met.add(client)

    def be_known(self, limit_s: float = PATIENCE_S) -> None:
        """Wait until the node has discovered all that is published, listened to and called here: what it sends before
        does not come, and it may not hear what is sent to it. It discovers things in the order in which they were
        made, so that the answer to a client that is made now tells.
        """
        later = self.node.create_client(GetParameters, "kyvo_node/get_parameters")
        assert later.wait_for_service(limit_s), "no node"

        def answered() -> bool:
            future, deadline = later.call_async(GetParameters.Request()), time.monotonic() + 1.0
            while not future.done() and time.monotonic() < deadline:
                time.sleep(0.002)
            return future.done()
        self.wait(answered, "an answer about parameters", limit_s)
        self.node.destroy_client(later)
        self._known = True

    def call(self, client: Any, request: Any, limit_s: float = PATIENCE_S) -> Any:
        self.meet(client, limit_s)
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {client.srv_name}", limit_s)
        return future.result()

    def set_parameters(self, **values: Any) -> str:
        """Set them all at once; the reason of a refusal, empty on success."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        result = self.call(self.setter, SetParametersAtomically.Request(parameters=parameters)).result
        assert result.successful != bool(result.reason), f"a refusal needs a reason: {result}"
        return result.reason

    # --- hearing

    def scene_of(self, stamp_ns: int, limit_s: float = PATIENCE_S) -> SceneGraph:
        """The scene of the image with this stamp."""
        return self.message_of("scene", stamp_ns, limit_s)

    def message_of(self, topic: str, stamp_ns: int, limit_s: float = PATIENCE_S) -> Any:
        def found() -> Any:
            return next((m for m in self.heard[topic] if m.header.stamp == stamp(stamp_ns)), None)
        return self.wait(found, f"a message on {topic} for stamp {stamp_ns}", limit_s)

    def answer(self, image: np.ndarray = WHITE, info: CameraInfo | None = None, **arguments) -> SceneGraph:
        """Send an image, and the calibration `info` before it, and again where best effort loses them or the scene
        takes its time; the scene of the last one that was sent, unless just that was lost.
        """
        if not self._known:
            self.be_known()
        sent: list[Time] = []

        def sends() -> list[SceneGraph]:
            if info is not None:
                self.infos.publish(info)
            sent.append(stamp(self.send_image(image, **arguments)))
            return wait_for(lambda: [m for m in self.heard["scene"] if m.header.stamp in sent], 1.0)
        scenes = self.wait(sends, "a scene")
        return (wait_for(lambda: [m for m in self.heard["scene"] if m.header.stamp == sent[-1]], 2.0) or scenes)[-1]

    def begin(self, folder: Path, info: CameraInfo | None = None) -> None:
        """Send images until the model of a folder has just begun to compute its first one."""
        def begins() -> bool:
            if info is not None:
                self.infos.publish(info)
            self.send_image()
            time.sleep(0.02)
            return begun(folder) > 0
        self.wait(begins, "a frame whose computing has begun")

    def statuses(self) -> dict[str, tuple[int, str]]:
        """Newest diagnostics by stage ("" for the summary): level and message."""
        messages = self.heard["/diagnostics"]
        return {s.name.partition(": ")[2]: (s.level[0], s.message) for s in messages[-1].status} if messages else {}

    def values(self) -> dict[str, str]:
        """Newest figures of the summary."""
        messages = self.heard["/diagnostics"]
        return {v.key: v.value for v in messages[-1].status[0].values} if messages else {}

    def said(self) -> str:
        return self.statuses().get("", (0, "nothing"))[1]

    def wait_said(self, level: int, text: str, repeat: Callable[[], Any] = lambda: None,
                  limit_s: float = PATIENCE_S) -> str:
        """Wait until the summary has this level and text; `repeat` is done every 0.2 s meanwhile."""
        def said() -> str:
            repeat()
            time.sleep(0.2)
            found_level, message = self.statuses().get("", (-1, ""))
            return message if found_level == level and text in message else ""
        return self.wait(said, f"diagnostics of level {level} with '{text}'", limit_s)


class FakeNode:
    """kyvo_node with the fake pipeline in another process, ready when entered. It is alone in the tester's namespace,
    unless it may start beside one that was killed and still seems alive.
    """

    def __init__(self, tester: Tester, log: Path, arguments: tuple[str, ...] = (), ready: bool = True,
                 command: tuple[str, ...] = FAKE_NODE, alone: bool = True) -> None:
        self.tester, self.log, self.ready = tester, log, ready
        if alone:
            tester.wait(lambda: not tester.node_seems_alive(), "the node before to be gone")
        namespace = ("-r", f"__ns:={tester.namespace}") if tester.namespace else ()
        self.child = Child([*command, "--ros-args", *namespace, *arguments], log)
        tester.forget_node()

    def __enter__(self) -> FakeNode:
        try:
            if self.ready:
                self.make_healthy()
        except BaseException:
            self.child.end()
            raise
        return self

    def make_healthy(self) -> None:
        """Until the node answers an image of this calibration."""
        tester = self.tester
        tester.wait(lambda: tester.statuses() or not self.child.running(), "diagnostics")
        assert self.child.running(), f"the node did not start:\n{self.log.read_text()}"
        tester.wait(lambda: tester.infos.get_subscription_count() and tester.images.get_subscription_count(), "inputs")
        tester.answer(info=calibration("camera"))

    def restore(self) -> None:
        """Default parameters, a model and a calibration to answer with, and nothing left to compute."""
        tester = self.tester
        values = {item.name: item.default for item in fields(Settings) if item.metadata["live"]}
        assert tester.set_parameters(**values) == ""
        tester.answer(info=calibration("camera"))

    def __exit__(self, *_) -> None:
        self.child.end()


@contextmanager
def sending(send: Callable[[], Any], period_s: float) -> Iterator[None]:
    """A camera that runs meanwhile: `send` is called every `period_s` in a thread of its own."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(period_s):
            send()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
