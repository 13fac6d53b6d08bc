"""The service `reconstruct`: whole objects of one image, with meshes, the topic `shape_markers` that shows them, and
what of it the scene graph keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kyvo_msgs.srv import Reconstruct
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from kyvo_ros.ros.camera import Shot
from kyvo_ros.ros.cameras import Cameras, RequestError, recognized_once
from kyvo_ros.ros.conversions.meshes import shape_markers
from kyvo_ros.ros.conversions.placing import place
from kyvo_ros.ros.conversions.results import graph_of
from kyvo_ros.ros.frames import Pipeline, WholeObjects
from kyvo_ros.ros.graph import GraphKeeper
from kyvo_ros.ros.qos import REQUESTS
from kyvo_ros.ros.serving import Server
from kyvo_ros.scene.simplification import LEAST_TRIANGLES, with_budget

#: Triangles of a mesh where a request says nothing, and the most that it may ask for.
DEFAULT_TRIANGLES, MOST_TRIANGLES = 2000, 20_000


class ReconstructionService:
    """The service of a node; its work is done in the worker's thread."""

    def __init__(self, node: Node, cameras: Cameras, pipeline: Callable[[], Pipeline], server: Server,
                 graph: GraphKeeper, group: CallbackGroup) -> None:
        """`pipeline` raises where there is none yet."""
        self._cameras, self._pipeline, self._server, self._graph = cameras, pipeline, server, graph
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._shown = node.create_publisher(MarkerArray, "shape_markers", latched)
        node.create_service(Reconstruct, "reconstruct", self._on_request, qos_profile=REQUESTS, callback_group=group)

    def _on_request(self, request: Reconstruct.Request, response: Reconstruct.Response) -> Reconstruct.Response:
        return self._server.serve(lambda shot: self._reconstruct(shot, request), response,
                                  lambda: self._cameras.meant(request))

    def _reconstruct(self, shot: Shot | None, request: Reconstruct.Request) -> Mapping[str, Any]:
        """The fields of a response. Raises RequestError, FrameDropped and what the pipeline raises."""
        budget = request.max_triangles or DEFAULT_TRIANGLES
        if not LEAST_TRIANGLES <= budget <= MOST_TRIANGLES:
            raise RequestError(f"max_triangles must be 0 or from {LEAST_TRIANGLES} to {MOST_TRIANGLES}, got {budget}")
        whole = recognized_once(shot, request, WholeObjects(self._pipeline()))
        scene, stamp = with_budget(whole.scene, budget), shot.frame.message.header.stamp
        result = replace(whole, scene=scene, objects=place(scene, whole.frame_T_plane))
        self._shown.publish(shape_markers(result.objects, Header(stamp=stamp, frame_id=result.frame_id)))
        unkept = self._graph.saw_shapes(shot.frame, whole, shot.camera.settings)
        return {"scene": graph_of(result, stamp), "message": unkept}
