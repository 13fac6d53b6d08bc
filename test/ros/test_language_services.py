"""Questions and edits over real DDS: on which scene, in which frame, what is refused, and what can be cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_pipeline import NOMINAL, OBJECTS, UNDERSTANDING, begun, write_model

harness = pytest.importorskip("harness", reason="needs ROS 2")

from action_msgs.msg import GoalStatus  # noqa: E402
from harness import FakeNode, Tester, calibration, pixels, sending  # noqa: E402
from kyvo_msgs.action import Ask as AskAction  # noqa: E402
from kyvo_msgs.msg import Answer, SceneGraph  # noqa: E402
from kyvo_msgs.srv import Ask, Edit  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from visualization_msgs.msg import Marker, MarkerArray  # noqa: E402

from kyvo_ros.ros.conversions import image_to_msg  # noqa: E402
from kyvo_ros.ros.conversions.scenes import scene_from_graph_msg  # noqa: E402
from kyvo_ros.ros.language_services import MOST_GOALS  # noqa: E402

CUBE, SPHERE, CYLINDER = range(3)
COUNT = "how many things are there?"


@pytest.fixture(scope="module")
def ask(tester: Tester) -> Callable[..., Ask.Response]:
    """Calls the service with the fields of a request."""
    client = tester.node.create_client(Ask, "ask")
    yield lambda question, **fields: tester.call(client, Ask.Request(question=question, **fields))
    tester.node.destroy_client(client)


@pytest.fixture(scope="module")
def edit(tester: Tester) -> Callable[..., Edit.Response]:
    client = tester.node.create_client(Edit, "edit")
    yield lambda instruction, **fields: tester.call(client, Edit.Request(instruction=instruction, **fields))
    tester.node.destroy_client(client)


class Goals:
    """A client of the action."""

    def __init__(self, tester: Tester) -> None:
        self.tester, self.client, self.stages = tester, ActionClient(tester.node, AskAction, "ask"), []

    def send(self, question: str, **fields) -> Any:
        """The handle of an accepted goal."""
        sent = self.begin(question, **fields)
        self.tester.wait(sent.done, "an accepted goal")
        assert sent.result().accepted
        return sent.result()

    def begin(self, question: str, **fields) -> Any:
        """A future of the handle of a goal, accepted or not."""
        self.tester.meet(self)
        self.stages.clear()
        return self._asked(self.client.send_goal_async, AskAction.Goal(question=question, **fields),
                           lambda message: self.stages.append(message.feedback.stage))

    def result(self, goal: Any) -> tuple[int, AskAction.Result]:
        """Final status and result."""
        future = self.begin_result(goal)
        self.tester.wait(future.done, "a result")
        return future.result().status, future.result().result

    def begin_result(self, goal: Any) -> Any:
        """A future of the result."""
        return self._asked(goal.get_result_async)

    def cancel(self, goal: Any) -> bool:
        """Whether the goal is being cancelled: one that has ended is not."""
        future = self._asked(goal.cancel_goal_async)
        self.tester.wait(future.done, "an answer to the request to cancel")
        return bool(future.result().goals_canceling)

    def _asked(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        """The future of the answer to a request."""
        # In the executor's thread: rclpy 9.1.2 loses a response that comes while another thread is still sending.
        task = self.tester.node.executor.create_task(ask, *arguments)
        self.tester.wait(task.done, "a request that is sent")
        return task.result()

    # --- what `Tester.meet` asks of a client

    srv_name = "ask"

    def wait_for_service(self, limit_s: float) -> bool:
        return self.client.wait_for_server(limit_s)


@pytest.fixture(scope="module")
def goals(tester: Tester) -> Goals:
    made = Goals(tester)
    yield made
    made.client.destroy()


def _slow(tester: Tester, folder: Path, latency_s: float) -> None:
    name = f"slow of {folder.parent.name}"  # another one than the model of the test before
    assert tester.set_parameters(model=write_model(folder, name, latency_s=latency_s)) == ""
    tester.wait(lambda: tester.values().get("model") == name, "the slow model")


# ---------------------------------------------------------------- which scene

def test_a_question_is_answered_on_the_latest_scene(node, tester, ask) -> None:
    scene = tester.answer(pixels((2, 0, 0)))
    response = ask(COUNT)
    assert response.success and response.message == ""
    answer = response.answer
    assert (answer.kind, answer.number, answer.text, answer.unit) == (Answer.NUMBER, 2.0, "2", "")
    assert answer.header == scene.header and not answer.refused and answer.refusal == ""
    assert answer.object_ids == [o.id for o in scene.objects]
    assert answer.confidence == pytest.approx(UNDERSTANDING * 0.9 ** 2)
    assert answer.program == "count(scene)" and answer.trace[-1] == "count: 2"


def test_an_answer_is_shown_on_the_objects_that_it_rests_on(node, tester, ask) -> None:
    shown = tester.listen(MarkerArray, "answer_markers")
    tester.answer()
    scene = tester.answer()
    tester.wait(lambda: ask("what color is the sphere") and tester.heard["answer_markers"], "markers of the answer")
    cleared, hull, text = tester.heard["answer_markers"][-1].markers
    assert cleared.action == Marker.DELETEALL and text.text == "blue" and hull.header == scene.header
    assert hull.pose == scene.objects[SPHERE].pose.pose and hull.scale.x > scene.objects[SPHERE].size.x
    assert hull.color.g > 0.5
    tester.wait(lambda: ask("where is the large thing") and len(tester.heard["answer_markers"][-1].markers) > 3,
                "markers of a refusal, which is about two objects")
    assert tester.heard["answer_markers"][-1].markers[1].color.g < 0.5
    tester.node.destroy_subscription(shown)


def test_before_any_scene_the_answer_says_so(tester, tmp_path) -> None:
    with Tester("/early") as early, FakeNode(early, tmp_path / "early.log", ready=False):
        client, editor = early.node.create_client(Ask, "ask"), early.node.create_client(Edit, "edit")
        early.wait(lambda: early.values().get("model") == "fake", "the model")
        response = early.call(client, Ask.Request(question=COUNT))
        assert not response.success and "no scene has been recognised yet" in response.message
        assert "received none yet" in early.call(client, Ask.Request(question=COUNT, fresh=True)).message
        response = early.call(editor, Edit.Request(instruction="remove the sphere"))
        assert not response.success and "no scene has been recognised yet" in response.message


def test_a_scene_that_is_too_old_is_not_used(node, tester, ask) -> None:
    tester.answer()
    assert ask(COUNT, max_age_s=600.0).success
    time.sleep(0.3)
    response = ask(COUNT, max_age_s=0.2)
    assert not response.success and "more than max_age_s = 0.2" in response.message
    assert response.answer == Answer()
    assert "newest image is" in ask(COUNT, max_age_s=0.2, fresh=True).message
    assert ask(COUNT).success
    for age_s in (-1.0, float("nan")):
        assert "max_age_s must be" in ask(COUNT, max_age_s=age_s).message


def test_the_newest_image_is_looked_at_on_request(node, tester, ask) -> None:
    first = tester.answer(pixels((3, 0, 0)))
    assert tester.set_parameters(max_rate_hz=0.01) == ""  # the next image waits once the worker sees that
    time.sleep(1.2)
    sent: list[Any] = []

    def newest() -> Ask.Response | None:
        sent.append(harness.stamp(tester.send_image(pixels((1, 0, 0)))))
        response = ask(COUNT, fresh=True)
        return response if response.answer.header.stamp in sent else None
    answer = tester.wait(newest, "an answer on the newest image").answer
    assert answer.number == 1 and answer.object_ids == [first.objects[CUBE].id], "the stream's names hold"
    assert ask(COUNT).answer.number == 3, "the scene that is published"


def test_an_image_of_the_caller_s_own(node, tester, ask) -> None:
    tester.answer()
    picture = image_to_msg(pixels((2, 0, 0)), calibration("other", 7).header)
    response = ask(COUNT, image=picture, camera_info=calibration("other"))
    assert response.success and response.answer.number == 2
    assert response.answer.header == picture.header
    picture.encoding = "nv99"
    assert "unknown image encoding" in ask(COUNT, image=picture).message


# ---------------------------------------------------------------- what the answers hold

def test_places_are_given_in_the_output_s_frame(node, tester, ask) -> None:
    scene = tester.answer()
    answer = ask("where is the sphere").answer
    point, expected = answer.point, scene.objects[SPHERE].pose.pose.position
    assert (answer.kind, answer.unit, answer.header.frame_id) == (Answer.PLACE, "m", "camera")
    assert np.allclose([point.x, point.y, point.z], [expected.x, expected.y, expected.z])
    assert answer.text == f"x {point.x:.2f} m, y {point.y:.2f} m, z {point.z:.2f} m in camera"
    assert answer.trace[-1] == f"locate: {answer.text}"
    assert tester.set_parameters(output_frame="support_plane") == ""
    tester.answer()
    answer = ask("where is the sphere").answer
    assert (answer.point.x, answer.point.y, answer.point.z) == (OBJECTS[SPHERE]["x"], OBJECTS[SPHERE]["y"], 0.35)
    assert answer.text == "x 0.80 m, y -0.70 m, z 0.35 m in support_plane"


def test_every_kind_of_value_comes_in_its_field(node, tester, ask) -> None:
    ids = [o.id for o in tester.answer().objects]
    answer = ask("what is left of the sphere").answer
    assert (answer.kind, answer.named_ids, answer.object_ids) == (Answer.OBJECTS, [ids[CUBE]], ids[:2])
    assert ask("what color is the sphere").answer.word == "blue"
    extents = ask("how large is the sphere").answer.extents
    assert (extents.x, extents.y, extents.z) == pytest.approx((0.7, 0.7, 0.7))
    cube = np.array([OBJECTS[CUBE]["x"], OBJECTS[CUBE]["y"], 0.7])
    distance_m = np.linalg.norm(cube - NOMINAL.plane_T_optical().translation)
    answer = ask("how far is the cube from the camera").answer
    assert (answer.kind, answer.unit) == (Answer.LENGTH, "m") and answer.number == pytest.approx(distance_m)


def test_a_premise_that_fails_is_refused_with_the_reason(node, tester, ask) -> None:
    ids = [o.id for o in tester.answer().objects]
    response = ask("where is the large thing")
    assert response.success, "a refusal is an answer"
    answer = response.answer
    assert answer.refused and (answer.refusal, answer.kind, answer.confidence) == (Answer.SEVERAL, "", 0.0)
    assert "there are 2" in answer.text and answer.object_ids == [ids[CUBE], ids[CYLINDER]]
    assert ask("which way to the station").answer.refusal == Answer.UNKNOWN


@pytest.mark.parametrize("question, reason", [
    ("", "empty"), (" \t\r\n\x01\x1b", "empty"), ("why " * 5000, "say it shorter")])
def test_what_is_no_question_fails_with_the_reason(node, tester, ask, question: str, reason: str) -> None:
    tester.answer()
    response = ask(question)
    assert not response.success and reason in response.message and response.answer == Answer()


def test_control_characters_and_other_languages_do_no_harm(node, tester, ask) -> None:
    tester.answer()
    assert ask("how\x07 many\x1b things\n are there").answer.number == 3
    for question in ("有多少个物体？", "\u202ehow many", "💡" * 20, "\x1b[2J\x01\x02x"):
        assert ask(question).answer.refusal == Answer.UNKNOWN
    assert ask(COUNT).answer.number == 3


# ---------------------------------------------------------------- beside the stream

def test_questions_are_answered_while_frames_are_computed(node, tester, ask, model_folder) -> None:
    tester.answer()
    assert ask(COUNT).success
    _slow(tester, model_folder, 3.0)
    tester.forget()
    tester.begin(model_folder)
    with sending(tester.send_image, 0.05):
        for _ in range(2):
            time.sleep(1.0)  # where cores allow it, another frame is computed beside the first
            already, answer = begun(model_folder), ask(COUNT).answer
            assert answer.number == 3
            scenes = tester.wait(lambda: tester.heard["scene"][already - 1:], "the scenes of these frames")
            assert answer.header == scenes[0].header, "frames that are computed go before a question, no other does"
        tester.wait(lambda: len(tester.heard["scene"]) > already, "the stream goes on")


def test_a_question_waits_no_longer_than_service_timeout(node, tester, ask, model_folder) -> None:
    tester.answer()
    _slow(tester, model_folder, 1.0)
    assert tester.set_parameters(service_timeout_s=0.2) == ""
    assert "service_timeout_s = 0.2" in ask(COUNT, fresh=True).message


def test_a_model_without_programs_answers_directly(node, tester, ask, goals, model_folder) -> None:
    folder = write_model(model_folder, "direct", answers="directly")
    assert tester.set_parameters(model=folder) == ""
    tester.wait(lambda: tester.values().get("model") == "direct", "the model that answers directly")
    picture = pixels((2, 0, 0))
    picture[0, 1] = (0, 9, 0)
    scene = tester.answer(picture)
    answer = ask(COUNT).answer
    assert (answer.kind, answer.number, answer.header) == (Answer.NUMBER, 2.0, scene.header)
    assert (answer.program, answer.object_ids, answer.confidence) == ("", [], UNDERSTANDING)
    assert "directly" in answer.trace[0]
    status, result = goals.result(goals.send("what color is it"))
    assert status == GoalStatus.STATUS_SUCCEEDED and (result.answer.kind, result.answer.word) == (Answer.WORD, "green")
    response = ask(COUNT, on_scene_graph=True)
    assert not response.success and "ask about an image" in response.message and response.answer == Answer()


# ---------------------------------------------------------------- the action

def test_a_goal_is_answered_with_its_stages(node, tester, goals) -> None:
    scene = tester.answer()
    status, result = goals.result(goals.send(COUNT, fresh=True))
    assert status == GoalStatus.STATUS_SUCCEEDED and result.success
    assert result.answer.number == 3 and result.answer.header == scene.header
    tester.wait(lambda: goals.stages == [AskAction.Feedback.RECOGNIZE, AskAction.Feedback.ANSWER], "the stages")


def test_a_goal_that_waits_for_a_frame_can_be_cancelled(node, tester, goals, model_folder) -> None:
    _slow(tester, model_folder, 6.0)
    tester.begin(model_folder)
    goal = goals.send(COUNT)
    assert goals.cancel(goal)
    status, result = goals.result(goal)
    assert status == GoalStatus.STATUS_CANCELED and not result.success and "cancelled" in result.message
    assert goals.stages == []


def test_a_goal_can_be_cancelled_between_its_stages(node, tester, goals, model_folder) -> None:
    tester.answer()
    _slow(tester, model_folder, 4.0)
    goal = goals.send(COUNT, fresh=True)
    tester.wait(lambda: goals.stages, "the first stage")
    assert goals.cancel(goal)
    status, result = goals.result(goal)
    assert status == GoalStatus.STATUS_CANCELED and "before the stage 'answer'" in result.message
    assert goals.stages == [AskAction.Feedback.RECOGNIZE]


def test_many_goals_keep_no_thread_from_the_node(node, tester, goals, model_folder) -> None:
    tester.answer()
    _slow(tester, model_folder, 0.8)
    results = [goals.begin_result(goals.send(COUNT, fresh=True)) for _ in range(10)]
    assert tester.set_parameters(confidence_threshold=0.1) == ""
    assert not results[-1].done(), "parameters do not wait for the goals"
    tester.wait(lambda: all(result.done() for result in results), "all results")
    assert {result.result().status for result in results} == {GoalStatus.STATUS_SUCCEEDED}


def test_goals_beyond_a_bound_are_rejected(node, tester, goals, model_folder) -> None:
    tester.answer()
    _slow(tester, model_folder, 4.0)  # some of the goals may end while others are sent, few of them
    sent = [goals.begin(COUNT, fresh=True) for _ in range(MOST_GOALS + 10)]
    tester.wait(lambda: all(future.done() for future in sent), "every answer")
    accepted = [future.result() for future in sent if future.result().accepted]
    assert MOST_GOALS <= len(accepted) < len(sent)
    for goal in accepted:  # the first of which may have ended
        goals.cancel(goal)
    ended = {goals.result(goal)[0] for goal in accepted}
    assert ended <= {GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_SUCCEEDED}
    assert goals.result(goals.send(COUNT))[0] == GoalStatus.STATUS_SUCCEEDED, "there is room again"


def test_a_goal_without_an_answer_is_aborted_with_the_reason(node, tester, goals) -> None:
    tester.answer()
    status, result = goals.result(goals.send(""))
    assert status == GoalStatus.STATUS_ABORTED and not result.success and "empty" in result.message
    status, result = goals.result(goals.send("where is the large thing"))
    assert status == GoalStatus.STATUS_SUCCEEDED and result.answer.refusal == Answer.SEVERAL


# ---------------------------------------------------------------- edits

def test_an_edit_keeps_ids_and_moves_in_the_frame_of_the_scene(node, tester, edit) -> None:
    assert tester.set_parameters(output_frame="support_plane") == ""
    scene = tester.answer()
    response = edit("move the sphere 0.5 m behind")
    assert response.success and (response.message, response.refusal) == ("", "")
    assert response.scene.header == scene.header
    assert [o.id for o in response.scene.objects] == [o.id for o in scene.objects]
    moved = scene_from_graph_msg(response.scene).positions_m() - scene_from_graph_msg(scene).positions_m()
    assert np.allclose(moved, [[0, 0, 0], [0, 0.5, 0], [0, 0, 0]])


def test_edits_follow_each_other_in_the_camera_s_frame(node, tester, edit) -> None:
    scene = tester.answer()
    assert scene.header.frame_id == "camera"
    added = edit("add a small red metal cube 2 m right of the sphere", scene=scene)
    ids = [o.id for o in scene.objects]
    assert added.success and [o.id for o in added.scene.objects] == [*ids, "new_0"]
    assert added.scene.objects[3].label == "small red metal cube"
    assert any((r.subject_id, r.predicate, r.object_id) == ("new_0", "right", ids[SPHERE])
               for r in added.scene.relations)
    removed = edit("remove the sphere", scene=added.scene)
    assert [o.id for o in removed.scene.objects] == [ids[CUBE], ids[CYLINDER], "new_0"]
    assert ids[SPHERE] not in {r.subject_id for r in removed.scene.relations}
    kept, before = removed.scene.objects[0].pose.pose, scene.objects[0].pose.pose
    for name in ("x", "y", "z"):
        assert getattr(kept.position, name) == pytest.approx(getattr(before.position, name))
        assert getattr(kept.orientation, name) == pytest.approx(getattr(before.orientation, name))


@pytest.mark.parametrize("instruction, refusal, reason", [
    ("remove the large thing", "several", "there are 2"), ("make the sphere blue", "already", "is blue already"),
    ("", "", "empty"), ("\x07\x1b", "", "empty"), ("sing a song", "", "not understood")])
def test_an_edit_that_cannot_be_is_explained(node, tester, edit, instruction: str, refusal: str, reason: str) -> None:
    tester.answer()
    response = edit(instruction)
    assert not response.success and reason in response.message
    assert response.refusal == refusal and response.scene == SceneGraph()


def test_edits_and_answers_follow_the_scale_of_a_table_top(node, tester, ask, edit) -> None:
    assert tester.set_parameters(plane_distance_m=NOMINAL.distance_m / 10, scale="distance",
                                 output_frame="support_plane") == ""
    ids = [o.id for o in tester.answer().objects]
    assert ask("what is left of the sphere").answer.named_ids == [ids[CUBE]], "0.18 m to the left"
    added = edit("add a small red metal cube right next to the sphere")
    assert added.success and added.scene.objects[3].size.x == pytest.approx(0.07)
    gap_m = added.scene.objects[3].pose.pose.position.x - added.scene.objects[SPHERE].pose.pose.position.x
    assert gap_m == pytest.approx(0.1 * (0.35 + 0.35 * 2 ** 0.5 + 0.25))


def test_a_scene_that_cannot_be_edited_is_explained(node, tester, edit) -> None:
    scene = tester.answer()
    scene.header.frame_id = "kitchen"
    response = edit("remove the sphere", scene=scene)
    assert not response.success and "frame 'kitchen' is not known" in response.message
    assert "'support_plane' or 'camera'" in response.message
    scene.header.frame_id = "camera"
    scene.objects[1].attributes[1].value = "gold"
    response = edit("remove the sphere", scene=scene)
    assert f"object '{scene.objects[1].id}' has the color 'gold'; an edit needs one of gray, red" in response.message
    scene.objects[0].pose.pose.orientation.x = 0.9
    assert "is tilted" in edit("remove the sphere", scene=scene).message
    scene.objects[0].pose.pose.position.x = float("nan")
    response = edit("remove the sphere", scene=scene)
    assert f"object '{scene.objects[0].id}' has no pose" in response.message
