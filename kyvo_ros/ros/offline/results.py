"""Results into a bag, as the node publishes them. Import it after `message_packages.provide`."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from kyvo_ros.ros.conversions.markers import MarkerBook
from kyvo_ros.ros.conversions.results import graph_of, plane_transform
from kyvo_ros.ros.conversions.scenes import scene_to_detections_msg
from kyvo_ros.ros.frames import Frame, Recognition
from kyvo_ros.ros.offline.bags import BagWriter
from kyvo_ros.ros.settings import Settings


class ResultWriter:
    """Scene, detections and markers of each frame, at the time of its image in the recording."""

    def __init__(self, bag: BagWriter, settings: Settings, namespace: str = "") -> None:
        self._bag, self._settings, self._prefix = bag, settings, f"/{namespace.strip('/')}/".replace("//", "/")
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
