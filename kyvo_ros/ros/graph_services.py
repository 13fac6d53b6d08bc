"""The services of the scene graph. They are answered at once, also while the model loads or a frame is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kyvo_msgs.srv import ExportSceneGraph, ForgetObject, GetSceneGraph, LoadSceneGraph, SaveSceneGraph
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from kyvo_ros.ros.conversions.collisions import moveit_messages, planning_scene_diff
from kyvo_ros.ros.conversions.graphs import query_from_msg, snapshot_to_msg
from kyvo_ros.ros.graph import GraphError, GraphKeeper
from kyvo_ros.ros.graph_files import GraphFiles
from kyvo_ros.ros.qos import REQUESTS
from kyvo_ros.ros.serving import explain, fill
from kyvo_ros.scene.memory import to_graphml

_KINDS = {"get_scene_graph": GetSceneGraph, "reset_scene_graph": Trigger, "forget_object": ForgetObject,
          "save_scene_graph": SaveSceneGraph, "load_scene_graph": LoadSceneGraph,
          "export_scene_graph": ExportSceneGraph}


class GraphServices:
    """The services of a node; their work is the keeper's."""

    def __init__(self, node: Node, keeper: GraphKeeper, files: GraphFiles) -> None:
        self._node, self._keeper, self._files = node, keeper, files
        self._planning_scene: Any = None  # publisher, once somebody has asked for it
        self._exported: set[str] | None = None  # ids that the planning scene has from here, once they are needed
        self._exported_file = f"planning_scene{node.get_fully_qualified_name().replace('/', '.')}.json"
        group = MutuallyExclusiveCallbackGroup()
        for name, kind in _KINDS.items():
            served = _served(getattr(self, f"_{name}"))
            node.create_service(kind, name, served, qos_profile=REQUESTS, callback_group=group)

    def _get_scene_graph(self, request: GetSceneGraph.Request) -> Mapping[str, Any]:
        return {"scene": snapshot_to_msg(self._keeper.snapshot(query_from_msg(request)))}

    def _reset_scene_graph(self, request: Trigger.Request) -> Mapping[str, Any]:
        self._keeper.reset()
        return {}

    def _forget_object(self, request: ForgetObject.Request) -> Mapping[str, Any]:
        self._keeper.forget(request.id)
        return {}

    def _save_scene_graph(self, request: SaveSceneGraph.Request) -> Mapping[str, Any]:
        return {"written": self._files.write_record(request.path, self._keeper.record())}

    def _load_scene_graph(self, request: LoadSceneGraph.Request) -> Mapping[str, Any]:
        return {"objects": self._keeper.restore(self._files.read_record(request.path))}

    def _export_scene_graph(self, request: ExportSceneGraph.Request) -> Mapping[str, Any]:
        if request.format == ExportSceneGraph.Request.GRAPHML:
            return {"written": self._files.write_text(request.path, to_graphml(self._keeper.snapshot()))}
        if request.format == ExportSceneGraph.Request.MOVEIT:
            return self._to_moveit()
        raise GraphError(f"format must be graphml or moveit, got '{request.format}'")

    def _to_moveit(self) -> Mapping[str, Any]:
        """Publish the difference since the last export, also that of an earlier run of the node."""
        messages, snapshot = moveit_messages(), self._keeper.snapshot()
        if self._exported is None:
            self._exported = self._files.read_ids(self._exported_file)
        if self._planning_scene is None:
            kept = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE,
                              durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._planning_scene = self._node.create_publisher(messages.PlanningScene, "planning_scene", kept)
        ids = {known.id for known in snapshot.objects}
        self._planning_scene.publish(planning_scene_diff(snapshot, self._exported - ids, messages))
        self._exported = ids
        return {"written": self._planning_scene.topic_name, "message": self._kept_exported()}

    def _kept_exported(self) -> str:
        """Keep for the next run of the node what the planning scene has; empty, or why that is not possible."""
        try:
            self._files.write_ids(self._exported_file, self._exported)
        except GraphError as error:
            return f"after a restart of the node, objects that are gone by then will not be removed: {error}"
        return ""


def _served(errand: Callable[[Any], Mapping[str, Any]]) -> Callable[[Any, Any], Any]:
    """The callback of a service: the fields that `errand` gives, or a message that says why not."""
    def callback(request: Any, response: Any) -> Any:
        try:
            fill(response, errand(request))
        except Exception as error:  # the boundary of the service: the caller hears of it
            explain(response, error)
        return response
    return callback
