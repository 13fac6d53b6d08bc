"""SIGINT and SIGTERM while a managed node deactivates or cleans up; other states are in `test_managed_node`."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from fake_lingering_node import LETS_GO  # noqa: E402
from fake_pipeline import write_model  # noqa: E402
from harness import FakeNode, Tester, calibration  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from test_managed_node import COMMAND, Manager  # noqa: E402

LINGERING = (sys.executable, str(Path(__file__).with_name("fake_lingering_node.py")))
CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
#: What is done before, what the signal comes into, what the node says that it is in, and the signal.
ENDS = {
    "deactivating": ((CONFIGURE, ACTIVATE), Transition.TRANSITION_DEACTIVATE, State.TRANSITION_STATE_DEACTIVATING,
                     signal.SIGINT),
    "cleaning": ((CONFIGURE,), Transition.TRANSITION_CLEANUP, State.TRANSITION_STATE_CLEANINGUP, signal.SIGTERM)}
#: Less than the node waits for a frame or a model that hangs.
ENDED_WITHIN_S = 20.0


def test_signals_in_a_transition_that_lets_the_model_go(tester, tmp_path: Path) -> None:
    """One node a transition, both at once."""
    with ExitStack() as stack:
        clients = {name: stack.enter_context(Tester(f"/end_{name}")) for name in ENDS}
        nodes = {name: stack.enter_context(FakeNode(client, tmp_path / name, (), False, LINGERING))
                 for name, client in clients.items()}
        for name, (before, transition, state, number) in ENDS.items():
            manager = Manager(clients[name])
            assert all(manager.do(each) for each in before) and manager.state()  # which it knows how to ask for now
            manager.begin(transition)
            clients[name].wait(lambda: LETS_GO in nodes[name].log.read_text(), "the model to be let go")
            assert manager.state() == state
            nodes[name].child.process.send_signal(number)
        for name, node in nodes.items():
            _ends_cleanly(node)


def test_a_signal_while_deactivating_waits_for_a_frame(tester, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    slow = write_model(folder, "slow", latency_s=6.0)
    with Tester("/end_frame") as client:
        with FakeNode(client, tmp_path / "log", ("-p", f"model:={slow}"), False, COMMAND) as node:
            manager = Manager(client)
            assert manager.do(CONFIGURE) and manager.do(ACTIVATE) and manager.state() == State.PRIMARY_STATE_ACTIVE
            client.wait(lambda: client.infos.get_subscription_count() and client.images.get_subscription_count(),
                        "the node to listen")
            client.begin(folder, calibration("camera"))
            manager.begin(Transition.TRANSITION_DEACTIVATE)
            client.wait(lambda: manager.state() == State.TRANSITION_STATE_DEACTIVATING, "the node to deactivate")
            node.child.process.send_signal(signal.SIGTERM)
            _ends_cleanly(node)


def _ends_cleanly(node: FakeNode) -> None:
    start_s = time.monotonic()
    status = node.child.process.wait(40.0)
    text = node.log.read_text()
    assert status == 0, text
    assert time.monotonic() - start_s < ENDED_WITHIN_S
    assert "Traceback" not in text and "terminate" not in text, text
