"""The services `ask`, `edit` and `render` and the action `ask` of the node, answered between two frames.

A goal of the action holds no thread of the executor while it waits: it is handed to the worker, and executed, which
only delivers its result, once that is there.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from kyvo_msgs.action import Ask as AskAction
from kyvo_msgs.srv import Ask, Edit, Render
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import RCLError, ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from kyvo_ros.questions import PremiseError
from kyvo_ros.ros.conversions.answer_markers import answer_markers
from kyvo_ros.ros.conversions.answers import answer_to_msg
from kyvo_ros.ros.conversions.graphs import stamp_to_msg
from kyvo_ros.ros.conversions.images import image_to_msg
from kyvo_ros.ros.conversions.placing import place
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg, scene_to_graph_msg
from kyvo_ros.ros.language import Language
from kyvo_ros.ros.qos import REQUESTS
from kyvo_ros.ros.serving import Server, explain, fill
from kyvo_ros.ros.worker import Worker, WorkerStoppedError
from kyvo_ros.scene import PLANE_FRAME, Scene, Transform

#: Goals of the action that may wait; more are rejected.
MOST_GOALS = 50


class CancelledError(Exception):
    """The caller has cancelled the goal."""


class LanguageServices:
    """The services of a node; their work is `language`'s, in the worker's thread."""

    def __init__(self, node: Node, language: Language, worker: Worker, server: Server) -> None:
        self._language, self._worker, self._server = language, worker, server
        self._open = threading.Condition()  # guards the number of goals whose result is not delivered yet
        self._goals = 0
        self._shown = node.create_publisher(MarkerArray, "answer_markers", 1)
        waiting = MutuallyExclusiveCallbackGroup()  # one thread for all, since the worker takes turns anyway
        node.create_service(Ask, "ask", self._on_ask, qos_profile=REQUESTS, callback_group=waiting)
        node.create_service(Edit, "edit", self._on_edit, qos_profile=REQUESTS, callback_group=waiting)
        node.create_service(Render, "render", self._on_render, qos_profile=REQUESTS, callback_group=waiting)
        self._action = ActionServer(  # with _deliver in name only: each goal is executed by one that knows its outcome
            node, AskAction, "ask", self._deliver, callback_group=MutuallyExclusiveCallbackGroup(),
            goal_callback=self._on_request, handle_accepted_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT)

    def finish(self, timeout_s: float) -> None:
        """Wait until every goal that was accepted has its result, while an executor delivers them."""
        with self._open:
            self._open.wait_for(lambda: not self._goals, timeout_s)

    def close(self) -> None:
        """Take back the action, which a node does not do by itself."""
        self._action.destroy()

    # --- callbacks of the executor

    def _on_ask(self, request: Ask.Request, response: Ask.Response) -> Ask.Response:
        return self._server.serve(lambda: {"answer": self._answer(request)}, response)

    def _on_edit(self, request: Edit.Request, response: Edit.Response) -> Edit.Response:
        return self._server.serve(lambda: self._edit(request), response)

    def _on_render(self, request: Render.Request, response: Render.Response) -> Render.Response:
        return self._server.serve(lambda: self._render(request), response)

    def _on_request(self, request: AskAction.Goal) -> GoalResponse:
        with self._open:
            return GoalResponse.ACCEPT if self._goals < MOST_GOALS else GoalResponse.REJECT

    def _on_goal(self, goal: ServerGoalHandle) -> None:
        with self._open:
            self._goals += 1
        try:
            errand = self._worker.submit(lambda: self._answer(goal.request, partial(_at_stage, goal)))
        except WorkerStoppedError as error:
            errand = Future()
            errand.set_exception(error)
        errand.add_done_callback(partial(self._execute, goal))

    def _execute(self, goal: ServerGoalHandle, outcome: Future) -> None:
        """Let the executor deliver what came out."""
        deliver = partial(self._deliver, outcome=outcome)
        try:
            goal.execute(deliver)
        except RCLError:  # a request to cancel came between rclpy's look at the goal's state and its change
            goal.execute(deliver)

    def _deliver(self, goal: ServerGoalHandle, outcome: Future) -> AskAction.Result:
        """The result of a goal whose errand is done; sets the goal's final state."""
        try:
            return _result(goal, outcome)
        finally:
            with self._open:
                self._goals -= 1
                self._open.notify_all()

    # --- the worker's thread

    def _answer(self, request: Any, *at_stage: Any):
        """kyvo_msgs/Answer to a request of the service or the action."""
        answer, subject = self._language.answer(request, *at_stage)
        header = Header(stamp=stamp_to_msg(subject.stamp_ns), frame_id=subject.frame_id)
        if self._shown.get_subscription_count():
            self._shown.publish(answer_markers(answer, place(subject.scene, subject.frame_T_plane), header))
        return answer_to_msg(answer, header)

    def _edit(self, request: Edit.Request) -> Mapping[str, Any]:
        """The fields of a response of Edit."""
        scene, header, frame_T_plane = self._meant(request)
        try:
            edited, relations = self._language.edit(request.instruction, scene, request.camera)
        except PremiseError as error:
            return {"success": False, "message": str(error), "refusal": error.kind}
        return {"scene": scene_to_graph_msg(place(edited, frame_T_plane), relations, header)}

    def _render(self, request: Render.Request) -> Mapping[str, Any]:
        """The fields of a response of Render."""
        scene, header, _ = self._meant(request)
        picture, camera_frame = self._language.render(scene, request.camera)
        return {"image": image_to_msg(picture, Header(stamp=header.stamp, frame_id=camera_frame))}

    def _meant(self, request: Edit.Request | Render.Request) -> tuple[Scene, Header, Transform]:
        """The scene in PLANE_FRAME that a request means, its header, and the pose of the plane in the header's frame:
        the one given or, where that is empty, the latest of the camera named, or of any. Raises RequestError,
        SceneError.
        """
        given = request.scene
        if given.objects or given.header.frame_id:
            self._language.check_count(len(given.objects))  # before any of them is looked at
            frame_T_plane = self._language.frame_T_plane(given.header.frame_id)
            return scene_from_graph_msg(given, frame_T_plane.inverse(), PLANE_FRAME), given.header, frame_T_plane
        seen = self._language.latest(request.camera)
        header = Header(stamp=seen.frame.message.header.stamp, frame_id=seen.result.frame_id)
        return seen.result.scene, header, seen.result.frame_T_plane


def _at_stage(goal: ServerGoalHandle, stage: str) -> None:
    """Tell the caller of a stage, unless the caller has lost interest. Raises CancelledError."""
    if goal.is_cancel_requested:
        raise CancelledError(f"cancelled before the stage '{stage}'")
    goal.publish_feedback(AskAction.Feedback(stage=stage))


def _result(goal: ServerGoalHandle, outcome: Future) -> AskAction.Result:
    result, error = AskAction.Result(), outcome.exception()
    if error is None:
        fill(result, {"answer": outcome.result()})
        goal.succeed()
        return result
    explain(result, error)
    if isinstance(error, CancelledError):
        goal.canceled()
    else:
        goal.abort()
    return result
