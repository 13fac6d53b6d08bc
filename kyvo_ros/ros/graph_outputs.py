"""What the node says of the scene graph: the graph itself and its markers, on every change, and to late comers."""

from __future__ import annotations

from kyvo_msgs.msg import SceneGraph
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from kyvo_ros.ros.conversions.graph_markers import GraphMarkerBook
from kyvo_ros.ros.conversions.graphs import snapshot_header, snapshot_to_msg
from kyvo_ros.scene.memory import Snapshot


class GraphOutputs:
    """The publishers of the scene graph; `publish` from one thread at a time."""

    def __init__(self, node: Node) -> None:
        kept = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._graph = node.create_publisher(SceneGraph, "scene_graph", kept)
        self._markers = node.create_publisher(MarkerArray, "scene_graph_markers", kept)
        self._book = GraphMarkerBook()
        self._last_header = Header()

    def publish(self, snapshot: Snapshot) -> None:
        """Send the graph. Each message of markers holds all that are on display, so that the last one is enough."""
        self._last_header = snapshot_header(snapshot)
        self._graph.publish(snapshot_to_msg(snapshot))
        self._markers.publish(self._book.update(snapshot))

    def clear_markers(self) -> None:
        """Delete what is on display, before the node goes."""
        deletions = self._book.clear(self._last_header)
        if deletions.markers:
            self._markers.publish(deletions)
