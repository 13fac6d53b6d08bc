"""What the node listens to: images and camera_info of a camera, and why nothing comes where nothing comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from kyvo_ros.ros.distributions import SubscriptionEventCallbacks
from kyvo_ros.ros.executor import BriefCallbackGroup
from kyvo_ros.ros.reading import reader
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import WARN, StageReport

#: image_transport -> relative topic and message type.
TRANSPORTS = {"raw": ("image", Image), "compressed": ("image/compressed", CompressedImage)}


class Inputs:
    """The subscriptions of a camera, whose topics begin with `prefix`. Callbacks run in the executor and must only
    store; `on_unreadable(name, why)` hears of messages of `image` or `camera_info` that are not what their type says.
    """

    def __init__(self, node: Node, settings: Settings, on_image: Callable[[Any], None],
                 on_camera_info: Callable[[CameraInfo], None], listen: bool = True, prefix: str = "",
                 on_unreadable: Callable[[str, str], None] = lambda name, why: None,
                 group: CallbackGroup | None = None) -> None:
        """`listen`: from the beginning, not only after `open`; `group`: of the callbacks, by default one of its own."""
        self._node, self._settings = node, settings
        self._qos_conflicts: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}  # the newest of each name that could not be read
        self._info_seen = False
        self._on_image, self._on_camera_info, self._on_unreadable = on_image, on_camera_info, on_unreadable
        self._group = group or BriefCallbackGroup()
        relative, self._image_type = TRANSPORTS[settings.image_transport]
        self._names = {"image": prefix + relative, "camera_info": prefix + "camera_info"}
        self.image_topic = node.resolve_topic_name(self._names["image"])
        self.camera_info_topic = node.resolve_topic_name(self._names["camera_info"])
        self._guard = threading.Lock()  # of what is subscribed: transitions and diagnostics change it
        self._open = False
        if listen:
            self.open()

    def open(self) -> None:
        """Listen, where that is not so already."""
        with self._guard:
            if self._open:
                return
            self._image = self._subscribe("image", self._image_type, self._on_image, _qos(self._settings.image_qos))
            self._info = self._subscribe_to_camera_info(_qos("sensor_data"))
            self._latched = False
            self._open = True

    def close(self) -> None:
        """Stop listening, so that nothing is sent here in vain."""
        with self._guard:
            if self._open:
                self._open = False
                self._node.destroy_subscription(self._image)
                self._node.destroy_subscription(self._info)

    def waiting(self, settings: Settings, seconds_since_image: float, any_image: bool) -> dict[str, StageReport]:
        """The stages that wait for a message, with what could be the cause."""
        waiting = {}
        if not self._open:
            return waiting
        if not any_image or seconds_since_image > settings.input_timeout_s:
            what = f"no image for {seconds_since_image:.0f} s" if any_image else "waiting for the first image"
            cause = self._cause(self.image_topic, self._image_type, "image")
            waiting["image"] = StageReport("image", WARN, f"{what} on {self.image_topic}: {cause}", seconds_since_image)
        if not self._info_seen and settings.camera_info_required:
            self._ask_for_latched_camera_info()
            cause = self._cause(self.camera_info_topic, CameraInfo, "camera_info")
            waiting["camera_info"] = StageReport(
                "camera_info", WARN, f"waiting for camera_info on {self.camera_info_topic}: {cause} (or set "
                "camera_info_required to false)")
        return waiting

    def _subscribe_to_camera_info(self, qos: QoSProfile) -> Subscription:
        return self._subscribe("camera_info", CameraInfo, self._store_camera_info, qos)

    def _subscribe(self, name: str, message_type: type, store: Callable[[Any], None], qos: QoSProfile) -> Subscription:
        def unreadable(why: str) -> None:
            self._unreadable[name] = why
            self._on_unreadable(name, why)
        return self._node.create_subscription(
            message_type, self._names[name], reader(message_type, store, unreadable), qos, callback_group=self._group,
            event_callbacks=self._events(name), raw=True)

    def _ask_for_latched_camera_info(self) -> None:
        """Subscribe anew where camera_info was published once and kept: only a transient-local subscriber gets it."""
        publishers = self._node.get_publishers_info_by_topic(self.camera_info_topic)
        kept = [p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers]
        if not kept or not all(kept):
            return
        with self._guard:
            if self._latched or not self._open:
                return
            self._latched = True
            self._node.destroy_subscription(self._info)
            self._info = self._subscribe_to_camera_info(QoSProfile(
                depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL))

    def _store_camera_info(self, message: CameraInfo) -> None:
        self._info_seen = True
        self._on_camera_info(message)

    def _cause(self, topic: str, message_type: type, name: str) -> str:
        """Why nothing comes on a topic, from what the ROS graph shows, and what to do."""
        wanted = f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"
        publishers = self._node.get_publishers_info_by_topic(topic)
        if not publishers:
            offered = self._offered_by_others(wanted)
            seen = f"topics with {wanted}: {', '.join(offered[:5])}" if offered else f"no other topic carries {wanted}"
            return f"nobody publishes it; remap {self._names[name]} to the camera's topic; {seen}"
        types = {p.topic_type for p in publishers}
        if wanted not in types:
            return f"it carries {', '.join(sorted(types))} instead of {wanted}; remap it or change image_transport"
        if name in self._qos_conflicts:
            return (f"the publisher's QoS does not match ({self._qos_conflicts[name]}); set image_qos to sensor_data "
                    "or change the publisher")
        if name in self._unreadable:
            return f"its messages cannot be read ({self._unreadable[name]}); find out who publishes it"
        return f"{len(publishers)} publisher(s) but no message; check that the camera runs and the network carries it"

    def _offered_by_others(self, wanted: str) -> list[str]:
        """Topics of a type that other nodes publish."""
        own, topics = (self._node.get_name(), self._node.get_namespace()), set()
        for name, namespace in self._node.get_node_names_and_namespaces():
            try:
                published = self._node.get_publisher_names_and_types_by_node(name, namespace)
            except NodeNameNonExistentError:  # it has just gone
                continue
            if (name, namespace) != own:
                topics |= {topic for topic, types in published if wanted in types}
        return sorted(topics)

    def _events(self, name: str) -> SubscriptionEventCallbacks:
        def incompatible(event: Any) -> None:
            policy = qos_policy_name_from_kind(event.last_policy_kind)
            self._qos_conflicts[name] = policy
            self._node.get_logger().warning(
                f"a publisher of {self._names[name]} offers QoS that does not match: {policy}")
        return SubscriptionEventCallbacks(incompatible_qos=incompatible)


def _qos(name: str) -> QoSProfile:
    """Keep only the newest: what is older would be dropped anyway."""
    reliability = ReliabilityPolicy.RELIABLE if name == "reliable" else ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(history=HistoryPolicy.KEEP_LAST, depth=1, reliability=reliability)
