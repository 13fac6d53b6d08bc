"""Results into a bag, as the node publishes them. Import it after `message_packages.provide`."""

from __future__ import annotations

from collections.abc import Callable

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.conversions.graph_markers import GraphMarkerBook
from kyvo_ros.ros.conversions.graphs import snapshot_to_msg
from kyvo_ros.ros.conversions.markers import MarkerBook
from kyvo_ros.ros.conversions.results import graph_of, plane_transform
from kyvo_ros.ros.conversions.scenes import scene_to_detections_msg
from kyvo_ros.ros.frames import Frame, Recognition
from kyvo_ros.ros.graph import GraphKeeper
from kyvo_ros.ros.offline.bags import BagWriter
from kyvo_ros.ros.offline.replay import Ledger
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import RecognizedField, Transform
from kyvo_ros.scene.memory import Snapshot


class ResultWriter:
    """Scene, detections and markers of each frame, at the time of its image in the recording."""

    def __init__(self, bag: BagWriter, settings: Settings, namespace: str = "") -> None:
        self._bag, self._settings, self._prefix = bag, settings, _prefix(namespace)
        self._book = MarkerBook()

    def write(self, when_ns: int, frame: Frame, result: Recognition) -> None:
        """All of a recognition; stamps are the image's."""
        recorded = frame.message.header.stamp  # of another class than the messages' own
        stamp = Time(sec=recorded.sec, nanosec=recorded.nanosec)
        header = Header(stamp=stamp, frame_id=result.frame_id)
        if self._settings.broadcasts_plane:
            self._bag.write("/tf", TFMessage(transforms=[plane_transform(result, stamp)]), when_ns)
        self._bag.write(self._prefix + "scene", graph_of(result, stamp), when_ns, kept=True)
        self._bag.write(self._prefix + "detections", scene_to_detections_msg(result.objects, header), when_ns)
        markers = self._book.update(result.objects, header, self._settings.marker_lifetime_s)
        self._bag.write(self._prefix + "markers", markers, when_ns)


class GraphWriter:
    """Where memory_frame is set, the scene graph and its markers, as the node keeps and tells it: empty at the time of
    the first image, and at that of each image that changes it.

    `locate` gives the pose of a view's support plane in a TF frame; `ledger` hears of images that are left out.
    """

    def __init__(self, bag: BagWriter, settings: Settings, locate: Callable[..., Transform], ledger: Ledger,
                 namespace: str = "") -> None:
        self._bag, self._settings, self._ledger, self._prefix = bag, settings, ledger, _prefix(namespace)
        self._keeper = GraphKeeper(locate, self._tell)
        self._book = GraphMarkerBook()
        self._when_ns = 0

    def write(self, when_ns: int, frame: Frame, result: Recognition, field: Callable[[], RecognizedField]) -> None:
        """Take in what an image showed; `field` is asked where a graph is kept."""
        self._when_ns = when_ns
        self._keeper.follow(self._settings)
        self._keeper.saw(frame, result, field, self._settings, self._ledger)

    def figures(self) -> dict[str, str]:
        """As GraphKeeper.figures."""
        return self._keeper.figures()

    def _tell(self, snapshot: Snapshot) -> None:
        self._bag.write(self._prefix + "scene_graph", snapshot_to_msg(snapshot), self._when_ns, kept=True)
        self._bag.write(self._prefix + "scene_graph_markers", self._book.update(snapshot), self._when_ns, kept=True)


def _prefix(namespace: str) -> str:
    """What the topics of a namespace begin with."""
    return f"/{namespace.strip('/')}/".replace("//", "/")
