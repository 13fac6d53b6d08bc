"""A running system: what its nodes publish, what kyvo_node says of itself, and some seconds of the camera."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.depth_input import SOURCES
from kyvo_ros.ros.doctor.camera import examine
from kyvo_ros.ros.doctor.findings import Finding, what_to_type
from kyvo_ros.ros.inputs import Inputs
from kyvo_ros.ros.offline.bags import (
    CAMERA_INFO, COMPRESSED, DEPTH, IMAGE, TF, TF_STATIC, BagError, Heard, Topics, choose_topics)
from kyvo_ros.ros.frames import Pipeline
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import ERROR, OK, STAGES

#: The graph counts as known when it has not changed for so long; what is lost on the way DDS says again after 3 s.
_DISCOVERY_S, _DISCOVERY_LIMIT_S = 1.5, 10.0
#: How much longer a topic is listened to on which nothing has come.
_STARVED_S = 4
#: Topics of every node, the doctor's own, too.
_EVERYWHERE = ("/parameter_events", "/rosout")
_IMAGES_KEPT = 20
_MESSAGES_KEPT = 5000
_NODE_NAME = "kyvo_node"
#: What the graph calls nodes whose topics are known and whose names have not come yet.
_UNNAMED = "_NODE_NAME_UNKNOWN_"


def examine_system(settings: Settings, pipeline: Pipeline | None, image: str = "", camera_info: str = "",
                   listen_s: float = 4.0, depth: str = "", camera: str = "") -> list[Finding]:
    """Listen to a system for a while. `image`, `camera_info` and `depth` name topics where they are not clear, `camera`
    one of several cameras of a running node, which without that are listened to in turn.
    """
    context = Context()
    rclpy.init(context=context, args=[])
    try:
        # The first node stays to the end: with the last node of a context goes what it has learned of the graph.
        with _Ears(context, "kyvo_doctor") as graph:
            graph.settle()
            named = Topics(image, camera_info, depth=depth)
            return list(_examined(graph, settings, pipeline, named, listen_s, camera))
    finally:
        rclpy.shutdown(context=context)


def _examined(graph: _Ears, settings: Settings, pipeline: Pipeline | None, named: Topics, listen_s: float,
              camera: str) -> Iterator[Finding]:
    cameras = {camera: graph.cameras.get(camera, {})}
    if not (named.image or named.camera_info):
        if camera and graph.cameras and camera not in graph.cameras:
            yield from _nodes(graph)
            known = graph.said.get("cameras", "one without a name")
            yield Finding(ERROR, "node", f"it has no camera '{camera}'; it has {known}",
                          f"ros2 param get {graph.said['name']} cameras")
            return
        cameras = cameras if camera else graph.cameras or cameras
    for number, (name, said) in enumerate(cameras.items()):
        ears, findings = _looked(graph, settings, pipeline, _completed(named, said, settings), listen_s)
        if number == 0:
            yield from _nodes(ears if ears.stages else graph)
        yield from (replace(found, about=f"{name}: {found.about}") if name else found for found in findings)


def _completed(named: Topics, said: dict[str, str], settings: Settings) -> Topics:
    """What the user has named, and else what the running node says that it listens to for a camera."""
    depth = named.depth
    if not depth and settings.depth_source != "none":
        depth = said.get("depth topic", "none")  # as Camera.figures puts it
        depth = "" if depth == "none" else depth
    if named.image or named.camera_info:
        return replace(named, depth=depth)
    return Topics(said.get("image topic", ""), said.get("camera_info topic", ""), depth=depth)


def _looked(graph: _Ears, settings: Settings, pipeline: Pipeline | None, wanted: Topics,
            listen_s: float) -> tuple[_Ears, list[Finding]]:
    """What is wrong with one camera, and who has listened to it."""
    offered = dict(graph.topics_of_others())
    try:
        topics = _topics(offered, wanted.image, wanted.camera_info, wanted.depth, settings.depth_source)
    except BagError as error:
        return graph, [Finding(ERROR, "image", str(error), "ros2 topic list -t")]
    if topics.image in offered:
        transport = "compressed" if offered[topics.image] == COMPRESSED else "raw"
        settings = replace(settings, image_transport=transport)
    with _Ears(graph.context, "kyvo_doctor_camera", settings, topics) as ears:
        ears.listen(listen_s)
        for _ in range(_STARVED_S):
            if ears.starved():
                ears.listen(1.0)
        starved = ears.starved()
    silent = {finding.about for finding in starved}
    # What follows from a topic that is silent has been said already.
    return ears, starved + [finding for finding in examine(ears.heard(), pipeline, settings, topics)
                            if finding.level == OK or finding.about not in silent]


def _topics(offered: dict[str, str], image: str, camera_info: str, depth: str, depth_source: str) -> Topics:
    """What to listen to. A named topic that nobody publishes is listened to as well, which tells why. Raises BagError.
    """
    if image and image not in offered:
        return Topics(image, camera_info or "/camera_info", depth=depth)
    chosen = choose_topics(offered, image, camera_info if camera_info in offered else "",
                           depth if depth in offered else "", depth_source)
    return replace(chosen, camera_info=camera_info or chosen.camera_info or "/camera_info", depth=depth or chosen.depth)


def _nodes(ears: _Ears) -> Iterator[Finding]:
    """What a running kyvo_node says of itself."""
    if not ears.stages:
        yield Finding(OK, "node", "no kyvo_node runs here; the camera was looked at all the same",
                      "ros2 launch kyvo_ros kyvo.launch.py")
        return
    said = ears.said
    yield Finding(OK, "node", f"{said['name']} runs with model {said.get('model', 'unknown')} and has published "
                  f"{said.get('frames published', '0')} scenes")
    for stage, (level, message) in ears.stages.items():
        if level > OK and stage.rpartition(": ")[2] in STAGES:
            yield Finding(level, "node", f"it says of its {stage}: {message}", "ros2 topic echo --once /diagnostics")


class _Ears:
    """A node that collects messages; with `topics` also the camera's and TF's. A context manager."""

    def __init__(self, context: Context, name: str, settings: Settings | None = None,
                 topics: Topics = Topics("")) -> None:
        self.context, self._name, self._settings, self._wanted = context, name, settings, topics
        self.said: dict[str, str] = {}  # the figures of kyvo_node's summary
        self.cameras: dict[str, dict[str, str]] = {}  # those of each of its cameras by name, '' for one without
        self.stages: dict[str, tuple[int, str]] = {}  # level and message of its stages, with the name of their camera
        self._images: deque[Heard] = deque(maxlen=_IMAGES_KEPT)
        self._depth: deque[Heard] = deque(maxlen=_IMAGES_KEPT)
        self._moving: deque[Heard] = deque(maxlen=_MESSAGES_KEPT)
        self._kept: deque[Heard] = deque(maxlen=_MESSAGES_KEPT)  # a busy /tf must not push these out
        self._inputs: Inputs | None = None

    def __enter__(self) -> _Ears:
        names = (("image", self._wanted.image), ("image/compressed", self._wanted.image),
                 ("camera_info", self._wanted.camera_info))
        remappings = [word for name, topic in names if topic for word in ("-r", f"{name}:={topic}")]
        self._node = Node(self._name, context=self.context, start_parameter_services=False, enable_rosout=False,
                          cli_args=["--ros-args", *remappings] if remappings else None)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self._node)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        if self._settings is not None:
            self._inputs = Inputs(self._node, self._settings, self._hear(self._images, IMAGE),
                                  self._hear(self._kept, CAMERA_INFO))
            self._subscribe_to_transforms()
            self._subscribe_to_depth()
        return self

    def __exit__(self, *_: Any) -> None:
        self._executor.shutdown()
        self._node.destroy_node()

    def listen(self, duration_s: float) -> None:
        """Collect for a time. Halfway, what was published once and kept is asked for."""
        start = time.monotonic()
        asked = self._inputs is None
        while (left := start + duration_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))
            if not asked and left < duration_s / 2:
                asked = True
                self.starved()

    def settle(self) -> None:
        """Wait until the graph has stayed the same for a while, its nodes have names and a kyvo_node among them has
        spoken, or too long for one that is empty.
        """
        start = changed = time.monotonic()
        known: set[tuple[str, str]] = set()
        while time.monotonic() - start < _DISCOVERY_LIMIT_S:
            self.listen(0.2)
            named = not any(_UNNAMED in self._publishers(name) for name, _ in known)
            silent = not self.stages and _NODE_NAME in self._node.get_node_names()
            if known and named and not silent and time.monotonic() - changed > _DISCOVERY_S:
                return
            if (now_known := set(self.topics())) != known:
                known, changed = now_known, time.monotonic()

    def topics(self) -> Iterator[tuple[str, str]]:
        """Topics that somebody publishes, and their types."""
        for name, types in self._node.get_topic_names_and_types():
            if name not in _EVERYWHERE and self._node.count_publishers(name):
                yield name, types[0]

    def topics_of_others(self) -> Iterator[tuple[str, str]]:
        """The same without those that only kyvo_node publishes, whose pictures are no camera's."""
        for name, kind in self.topics():
            if self._publishers(name) != {_NODE_NAME}:
                yield name, kind

    def _publishers(self, topic: str) -> set[str]:
        """The names of the nodes that publish a topic."""
        return {publisher.node_name for publisher in self._node.get_publishers_info_by_topic(topic)}

    def heard(self) -> list[Heard]:
        """All of the camera and TF, in the order of arrival."""
        return sorted([*self._images, *self._depth, *self._moving, *self._kept], key=lambda item: item.when_ns)

    def starved(self) -> list[Finding]:
        """Topics that have stayed silent, and why."""
        waiting = self._inputs.waiting(self._settings, 0.0, bool(self._images))
        return [Finding(ERROR, stage, report.message, what_to_type(
            "no_camera_info" if stage == "camera_info" else "", self._settings, self._wanted) or "ros2 topic list -t")
            for stage, report in waiting.items()]

    def _hear(self, store: deque[Heard], kind: str) -> Callable[[Any], None]:
        return lambda message: store.append(Heard(time.monotonic_ns(), kind, message))

    def _subscribe_to_transforms(self) -> None:
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node.create_subscription(TFMessage, "/tf", self._hear(self._moving, TF), 100)
        self._node.create_subscription(TFMessage, "/tf_static", self._hear(self._kept, TF_STATIC), latched)

    def _subscribe_to_depth(self) -> None:
        if self._wanted.depth:
            kind = SOURCES[self._settings.depth_source][1]
            self._node.create_subscription(kind, self._wanted.depth, self._hear(self._depth, DEPTH),
                                           qos_profile_sensor_data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        name = message.status[0].name if message.status else ""
        if name.rpartition("/")[2] == _NODE_NAME:
            by_name = {s.name.partition(": ")[2]: {v.key: v.value for v in s.values} for s in message.status}
            self.said = {"name": name, **by_name[""]}
            self.cameras = {camera: by_name.get(camera, {}) for camera in self.said.get("cameras", "").split(", ")}
            self.stages = {s.name.partition(": ")[2]: (s.level[0], s.message) for s in message.status[1:]}
