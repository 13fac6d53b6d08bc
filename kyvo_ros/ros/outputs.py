"""What the node says: scene, detections, markers, the annotated image, and the support-plane frame on /tf.

Messages that nobody listens to are not built, except the scene, which late comers get at once (transient local).
"""

from __future__ import annotations

from builtin_interfaces.msg import Time
from kyvo_msgs.msg import SceneGraph
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from kyvo_ros.drawing import draw_scene
from kyvo_ros.ros.conversions.images import image_to_msg
from kyvo_ros.ros.conversions.markers import MarkerBook
from kyvo_ros.ros.conversions.results import graph_of, plane_transform
from kyvo_ros.ros.conversions.scenes import scene_to_detections_msg
from kyvo_ros.ros.frames import Recognition
from kyvo_ros.ros.settings import Settings


class Outputs:
    """The publishers of a camera, whose topics begin with `prefix`. `publish` belongs in the worker's thread."""

    def __init__(self, node: Node, prefix: str = "") -> None:
        # Reliable publishers match both reliable and best-effort subscribers; depth 1, so nothing queues.
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        kept = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._scene = node.create_publisher(SceneGraph, prefix + "scene", kept)
        self._detections = node.create_publisher(Detection3DArray, prefix + "detections", newest)
        self._markers = node.create_publisher(MarkerArray, prefix + "markers", newest)
        self._annotated = node.create_publisher(Image, prefix + "annotated_image", newest)
        self._tf = node.create_publisher(TFMessage, "/tf", 100)
        self._node, self._heard = node, (self._scene, self._detections, self._markers, self._annotated)
        self._book = MarkerBook()
        self._last_header = Header()

    def publish(self, result: Recognition, stamp: Time, settings: Settings) -> None:
        """Send all of a recognition, the transform first, since the rest refers to it."""
        header = Header(stamp=stamp, frame_id=result.frame_id)
        self._last_header = header
        if settings.broadcasts_plane:
            self._tf.publish(TFMessage(transforms=[plane_transform(result, stamp)]))
        self._scene.publish(graph_of(result, stamp))
        if self._detections.get_subscription_count():
            self._detections.publish(scene_to_detections_msg(result.objects, header))
        if self._markers.get_subscription_count():
            self._markers.publish(self._book.update(result.objects, header, settings.marker_lifetime_s))
        if self._annotated.get_subscription_count():
            picture = draw_scene(result.image_rgb, result.scene, result.view)
            self._annotated.publish(image_to_msg(picture, Header(stamp=stamp, frame_id=result.camera_frame)))

    def wanted(self) -> bool:
        """Whether somebody listens to any of it; to /tf somebody always does."""
        return any(publisher.get_subscription_count() for publisher in self._heard)

    def destroy(self) -> None:
        """Take it all back from ROS, markers included."""
        self.clear_markers()
        for publisher in (*self._heard, self._tf):
            self._node.destroy_publisher(publisher)

    def clear_markers(self) -> None:
        """Delete what is on display, before the node goes."""
        deletions = self._book.clear(self._last_header)
        if deletions.markers:
            self._markers.publish(deletions)
