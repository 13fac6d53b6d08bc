"""The subscription to depth of a camera, and why none comes where none comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2

from kyvo_ros.ros.depth import DepthStore
from kyvo_ros.ros.executor import BriefCallbackGroup
from kyvo_ros.ros.reading import reader
from kyvo_ros.ros.settings import Settings
from kyvo_ros.ros.status import OK, WARN, StageReport

#: depth_source -> relative topic and message type.
SOURCES = {"image": ("depth", Image), "points": ("points", PointCloud2)}


class DepthInput:
    """Fills the store of a camera, whose topics begin with `prefix`, while it is open; nothing is subscribed where
    depth_source is none. `on_unreadable(name, why)` hears of messages of `depth` or `points` that are not what their
    type says.
    """

    def __init__(self, node: Node, settings: Settings, store: DepthStore, listen: bool = True, prefix: str = "",
                 on_unreadable: Callable[[str, str], None] = lambda name, why: None,
                 group: CallbackGroup | None = None) -> None:
        """`listen`: from the beginning, not only after `open`; `group`: of the callback, by default one of its own."""
        self._node, self._store, self._on_unreadable = node, store, on_unreadable
        self._unreadable = ""  # why the newest of those that could not be read could not
        self._source, self._type = SOURCES.get(settings.depth_source, ("", None))
        self._relative = prefix + self._source if self._source else ""
        self.topic = node.resolve_topic_name(self._relative) if self._relative else "none"
        self._group = group or BriefCallbackGroup()
        self._guard = threading.Lock()
        self._subscription = None
        if listen:
            self.open()

    def open(self) -> None:
        """Listen, where that is not so already."""
        with self._guard:
            if self._relative and self._subscription is None:
                self._subscription = self._node.create_subscription(  # best effort matches every publisher
                    self._type, self._relative, reader(self._type, self._store.store, self._note_unreadable),
                    qos_profile_sensor_data, callback_group=self._group, raw=True)

    def close(self) -> None:
        """Stop listening."""
        with self._guard:
            if self._subscription is not None:
                self._node.destroy_subscription(self._subscription)
                self._subscription = None

    def waiting(self, settings: Settings) -> dict[str, StageReport]:
        """The stage of depth where it is not used or does not come, with what could be the cause."""
        if not self._relative:
            return {"depth": StageReport("depth", OK, "not used (depth_source is none)")}
        silent_s = self._store.silent_s()
        if self._subscription is None or silent_s <= settings.input_timeout_s:
            return {}
        what = f"no depth for {silent_s:.0f} s" if self._store.any else "waiting for the first depth"
        return {"depth": StageReport("depth", WARN, f"{what} on {self.topic}: {self._cause()}; frames go on without",
                                     silent_s)}

    def _note_unreadable(self, why: str) -> None:
        self._unreadable = why
        self._on_unreadable(self._source, why)

    def _cause(self) -> str:
        wanted = f"sensor_msgs/msg/{self._type.__name__}"
        types = {p.topic_type for p in self._node.get_publishers_info_by_topic(self.topic)}
        if not types:
            return f"nobody publishes it; remap {self._relative} to the camera's topic, or set depth_source to none"
        if wanted not in types:
            return f"it carries {', '.join(sorted(types))} instead of {wanted}; remap it or change depth_source"
        if self._unreadable:
            return f"its messages cannot be read ({self._unreadable}); find out who publishes it"
        return "it has a publisher but no message; check that the camera runs and the network carries it"
