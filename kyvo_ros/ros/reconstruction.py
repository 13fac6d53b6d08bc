"""The service `reconstruct`: whole objects of one image, with meshes, and the topic `shape_markers` that shows them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from kyvo_msgs.srv import Reconstruct
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from kyvo_ros.ros.conversions.meshes import object_meshes, shape_markers
from kyvo_ros.ros.conversions.results import graph_of
from kyvo_ros.ros.language import RequestError
from kyvo_ros.ros.recognition import Frame, FrameDropped, Pipeline, Recognizer
from kyvo_ros.ros.serving import Server
from kyvo_ros.ros.settings import Settings
from kyvo_ros.scene import CameraView, Scene

#: Triangles of a mesh where a request says nothing, and the least and most that it may ask for.
DEFAULT_TRIANGLES, LEAST_TRIANGLES, MOST_TRIANGLES = 2000, 4, 20_000


class WholeObjects:
    """A pipeline whose scenes hold meshes, in place of one that recognises poses alone."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def recognize(self, image: np.ndarray, camera: CameraView | None = None, scale: str = "units",
                  effort: str = "fast") -> Scene:
        """One look whatever the effort: several looks agree on poses, not on shapes."""
        return self._pipeline.reconstruct(image, camera, scale)


class ReconstructionService:
    """The service of a node; its work is done in the worker's thread."""

    def __init__(self, node: Node, recognizer: Recognizer, pipeline: Callable[[], Pipeline],
                 settings: Callable[[], Settings], newest: Callable[[], Frame | None], server: Server,
                 group: CallbackGroup) -> None:
        """`pipeline` raises where there is none yet; `newest` is the newest image received."""
        self._recognizer, self._pipeline, self._settings = recognizer, pipeline, settings
        self._newest, self._server = newest, server
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._shown = node.create_publisher(MarkerArray, "shape_markers", latched)
        node.create_service(Reconstruct, "reconstruct", self._on_request, callback_group=group)

    def _on_request(self, request: Reconstruct.Request, response: Reconstruct.Response) -> Reconstruct.Response:
        return self._server.serve(lambda: self._reconstruct(request), response)

    def _reconstruct(self, request: Reconstruct.Request) -> Mapping[str, Any]:
        """The fields of a response. Raises RequestError, FrameDropped and what the pipeline raises."""
        budget = request.max_triangles or DEFAULT_TRIANGLES
        if not LEAST_TRIANGLES <= budget <= MOST_TRIANGLES:
            raise RequestError(f"max_triangles must be 0 or from {LEAST_TRIANGLES} to {MOST_TRIANGLES}, got {budget}")
        frame = Frame(request.image, time.monotonic()) if len(request.image.data) else self._newest()
        if frame is None:
            raise FrameDropped("bad_image", "the request holds no image and the node has received none yet")
        info = request.camera_info if request.camera_info.width else None
        result = self._recognizer.recognize_once(frame, info, WholeObjects(self._pipeline()), self._settings())
        stamp = frame.message.header.stamp
        self._shown.publish(shape_markers(result.objects, Header(stamp=stamp, frame_id=result.frame_id), budget))
        return {"scene": graph_of(result, stamp), "meshes": object_meshes(result.objects, budget)}
