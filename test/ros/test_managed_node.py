"""The life cycle: what is alive in each state and during transitions, failures, and starting by itself."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from fake_pipeline import write_model  # noqa: E402
from harness import WHITE, FakeNode, Tester, calibration, image_to_msg, stamp  # noqa: E402
from kyvo_msgs.srv import Recognize  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

COMMAND = (sys.executable, str(Path(__file__).with_name("fake_managed_node.py")))
OK, WARN, ERROR = 0, 1, 2


class Manager:
    """What a lifecycle manager asks of the node."""

    def __init__(self, tester: Tester) -> None:
        self.tester = tester
        self._change = tester.node.create_client(ChangeState, "kyvo_node/change_state")
        self._state = tester.node.create_client(GetState, "kyvo_node/get_state")

    def begin(self, transition: int):
        """A request whose answer is not waited for."""
        self.tester.meet(self._change)
        return self._change.call_async(ChangeState.Request(transition=Transition(id=transition)))

    def do(self, transition: int) -> bool:
        future = self.begin(transition)
        self.tester.wait(future.done, f"transition {transition}")
        return future.result().success

    def state(self) -> int:
        return self.tester.call(self._state, GetState.Request()).current_state.id


@pytest.fixture(scope="module")
def fourth(tester) -> Iterator[Tester]:
    with Tester("/fourth") as made:
        yield made


def _listeners(tester: Tester) -> int:
    return tester.images.get_subscription_count() + tester.infos.get_subscription_count()


def _depth_listeners(tester: Tester) -> int:
    return tester.node.count_subscribers(f"{tester.namespace}/depth")


def _undocumented(tester: Tester) -> set[str]:
    """Names of the life cycle that docs/lifecycle.md does not list for SROS2."""
    tester.wait(lambda: ("kyvo_node", tester.namespace) in tester.node.get_node_names_and_namespaces(), "its name")
    page = (Path(__file__).resolve().parents[2] / "docs" / "lifecycle.md").read_text()
    names = [*tester.node.get_service_names_and_types_by_node("kyvo_node", tester.namespace),
             *tester.node.get_publisher_names_and_types_by_node("kyvo_node", tester.namespace)]
    own = {name.rpartition("/")[2] for name, types in names if types[0].startswith("lifecycle_msgs/")}
    assert "change_state" in own and "transition_event" in own
    return {name for name in own if f"`~/{name}`" not in page}


def _flows(tester: Tester) -> None:
    tester.wait(lambda: _listeners(tester) == 2, "the node to listen")

    def answered() -> bool:
        tester.infos.publish(calibration("camera"))  # again and again: best effort loses what comes early
        sent = tester.send_image()
        time.sleep(0.2)
        return any(message.header.stamp == stamp(sent) for message in tester.heard["scene"])
    tester.wait(answered, "a scene")


def test_a_whole_life(fourth: Tester, tmp_path: Path) -> None:
    manager, model = Manager(fourth), write_model(tmp_path / "model", "tried", load_s=6.0)
    arguments = ("-p", f"model:={model}", "-p", "depth_source:=image")
    with FakeNode(fourth, tmp_path / "log", arguments, ready=False, command=COMMAND) as node:
        assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
        fourth.wait(lambda: "unconfigured" in fourth.statuses().get("model", (9, ""))[1], "diagnostics")
        assert _listeners(fourth) + _depth_listeners(fourth) == 0 and _undocumented(fourth) == set()
        asked = Recognize.Request(image=image_to_msg(WHITE, Header(frame_id="camera")))
        response = fourth.call(fourth.recognize, asked)
        assert not response.success and "configure and activate it" in response.message
        assert not manager.do(Transition.TRANSITION_ACTIVATE), "not from unconfigured"

        configured = manager.begin(Transition.TRANSITION_CONFIGURE)
        fourth.wait(lambda: fourth.statuses()["model"] == (WARN, "loading the model"), "the progress of configuring")
        assert manager.state() == State.TRANSITION_STATE_CONFIGURING and not configured.done()
        assert not manager.do(Transition.TRANSITION_CONFIGURE), "one transition at a time"
        fourth.wait(configured.done, "the model")
        assert configured.result().success and manager.state() == State.PRIMARY_STATE_INACTIVE
        assert "inactive" in fourth.call(fourth.recognize, asked).message and _listeners(fourth) == 0

        assert manager.do(Transition.TRANSITION_ACTIVATE)
        _flows(fourth)
        fourth.wait(lambda: _depth_listeners(fourth) == 1, "the node to listen to depth")
        assert manager.do(Transition.TRANSITION_DEACTIVATE) and manager.state() == State.PRIMARY_STATE_INACTIVE
        fourth.wait(lambda: "let its model go" in fourth.statuses()["model"][1], "the diagnostics to say so")
        assert fourth.values().get("model") == "none"
        fourth.wait(lambda: _listeners(fourth) + _depth_listeners(fourth) == 0, "no listener")
        assert manager.do(Transition.TRANSITION_ACTIVATE), "which loads the model again"
        _flows(fourth)

        assert manager.do(Transition.TRANSITION_DEACTIVATE) and manager.do(Transition.TRANSITION_CLEANUP)
        assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
        assert manager.do(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert manager.state() == State.PRIMARY_STATE_FINALIZED and node.child.running()
        assert node.child.end() == 0
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text and "terminate" not in text, text


def test_a_model_that_fails_leaves_a_node_that_can_be_configured_again(fourth: Tester, tmp_path: Path) -> None:
    manager = Manager(fourth)
    broken, good = write_model(tmp_path / "broken", "b", broken="x"), write_model(tmp_path / "good", "good")
    fourth.forget()
    with FakeNode(fourth, tmp_path / "log", ("-p", f"model:={broken}"), ready=False, command=COMMAND) as node:
        assert not manager.do(Transition.TRANSITION_CONFIGURE)
        assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
        fourth.wait_said(ERROR, "lacks tensor 'x'")
        assert fourth.set_parameters(model=good) == ""
        fourth.forget()
        fourth.wait(lambda: len(fourth.heard["/diagnostics"]) > 1, "diagnostics")
        assert fourth.values().get("model") == "none", "a change of parameters loads nothing while unconfigured"
        assert manager.do(Transition.TRANSITION_CONFIGURE) and manager.do(Transition.TRANSITION_ACTIVATE)
        _flows(fourth)
        fourth.wait(lambda: fourth.values().get("model") == "good", "its name in the diagnostics")
        assert node.child.end() == 0, "ends while it is active, too"


def test_it_starts_itself_when_asked(fourth: Tester, tmp_path: Path) -> None:
    fourth.forget()
    with FakeNode(fourth, tmp_path / "log", ("-p", "autostart:=true"), ready=False, command=COMMAND):
        _flows(fourth)
        assert Manager(fourth).state() == State.PRIMARY_STATE_ACTIVE


def test_a_transition_that_raises_goes_back_to_the_beginning(tester, monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_pipeline import fake_factory
    from kyvo_ros.ros.managed_node import FAILURE, SUCCESS, ManagedKyvoNode
    from rclpy.lifecycle import TransitionCallbackReturn
    node = ManagedKyvoNode(fake_factory, namespace="/fifth")
    try:
        assert node.trigger_configure() == SUCCESS
        monkeypatch.setattr(node, "_listen", lambda listens: {False: None}[listens])
        logged = []
        monkeypatch.setattr(node, "get_logger", lambda: SimpleNamespace(error=logged.append))
        assert node.trigger_activate() == TransitionCallbackReturn.ERROR != FAILURE
        monkeypatch.undo()
        assert len(logged) == 1 and "on_activate failed:" in logged[0] and "KeyError: True" in logged[0]
        assert node._slot.pipeline is None
        assert node.trigger_configure() == SUCCESS and node.trigger_activate() == SUCCESS
    finally:
        node.close()
        node.destroy_node()


def test_a_model_set_while_activation_loads_is_the_one_that_runs(tester, tmp_path: Path) -> None:
    from fake_pipeline import fake_factory
    from kyvo_ros.ros.managed_node import SUCCESS, ManagedKyvoNode
    from rclpy.parameter import Parameter
    first, second = write_model(tmp_path / "first", "first"), write_model(tmp_path / "second", "second")
    begun, go_on = threading.Event(), threading.Event()

    def factory(settings):
        begun.set()
        assert go_on.wait(60.0)
        return fake_factory(settings)
    node = ManagedKyvoNode(factory, namespace="/sixth", parameter_overrides=[Parameter("model", value=first)])
    try:
        outcome = ThreadPoolExecutor(1).submit(lambda: (node.trigger_configure(), node.trigger_activate()))
        assert begun.wait(60.0)
        assert node.set_parameters([Parameter("model", value=second)])[0].successful
        go_on.set()
        assert outcome.result(60.0) == (SUCCESS, SUCCESS)
        node._worker.submit(lambda: None).result(60.0)
        assert node._slot.name_and_device()[0] == "second"
    finally:
        go_on.set()
        node.close()
        node.destroy_node()


STATES = {"unconfigured": (), "configuring": (), "inactive": (Transition.TRANSITION_CONFIGURE,),
          "active": (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly_in_every_state(tester: Tester, tmp_path: Path, number: signal.Signals) -> None:
    """One node a state, all at once; the one that is configuring loads a model that takes longer than anybody waits."""
    slow, logs = write_model(tmp_path / "model", "slow", load_s=60.0), {}
    with ExitStack() as stack:
        clients, nodes = {}, {}
        for state in STATES:
            logs[state] = tmp_path / state
            clients[state] = stack.enter_context(Tester(f"/end_{state}"))
            arguments = ("-p", f"model:={slow}") if state == "configuring" else ()
            nodes[state] = stack.enter_context(FakeNode(clients[state], logs[state], arguments, False, COMMAND))
        for state, transitions in STATES.items():
            manager = Manager(clients[state])
            assert all(manager.do(transition) for transition in transitions)
            if state == "configuring":
                manager.begin(Transition.TRANSITION_CONFIGURE)
                said = clients[state].statuses
                clients[state].wait(lambda: said().get("model") == (WARN, "loading the model"), "the model to load")
            elif not transitions:
                assert manager.state() == State.PRIMARY_STATE_UNCONFIGURED
        for node in nodes.values():
            node.child.process.send_signal(number)
        for state, node in nodes.items():
            assert node.child.process.wait(40.0) == 0, f"{state}: {logs[state].read_text()}"
            assert "Traceback" not in logs[state].read_text()
