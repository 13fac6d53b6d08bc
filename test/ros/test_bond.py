"""The bond to a lifecycle manager, over real DDS with a stand-in for the manager's side."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from bond.msg import Status  # noqa: E402
from harness import FakeNode, Tester  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from test_managed_node import COMMAND, Manager  # noqa: E402

from kyvo_ros.ros import bond as bonds  # noqa: E402

#: A side that has said nothing for so long would be missed, had it been due all the time; seconds.
SILENCE_S = 1.0


class Sister:
    """The manager's side: hears the node's, and speaks when it is told."""

    def __init__(self, tester: Tester) -> None:
        self.tester, self.name = tester, "the manager's"
        self._publisher = tester.node.create_publisher(Status, "bond", 5)
        self._ear = tester.listen(Status, "bond")

    def heard(self) -> list[Status]:
        return [m for m in self.tester.heard["bond"] if m.id == "kyvo_node" and m.instance_id != self.name]

    def next(self, active: bool) -> Status:
        """The node's next status that says this."""
        count = len(self.heard())
        return self.tester.wait(lambda: [m for m in self.heard()[count:] if m.active == active],
                                f"a status with active = {active}", 10.0)[0]

    def say(self, active: bool, bond: str = "kyvo_node") -> None:
        self._publisher.publish(Status(id=bond, instance_id=self.name, active=active, heartbeat_timeout=4.0,
                                       heartbeat_period=0.1))

    def wait_for_silence(self) -> None:
        """Until nothing has come for SILENCE_S."""
        def silent() -> bool:
            count = len(self.heard())
            time.sleep(SILENCE_S)
            return len(self.heard()) == count
        self.tester.wait(silent, "silence", 15.0)

    def close(self) -> None:
        self.tester.node.destroy_publisher(self._publisher)
        self.tester.node.destroy_subscription(self._ear)


@pytest.fixture(scope="module")
def bonded(tester: Tester) -> Iterator[Tester]:
    with Tester("/bonded") as made:
        yield made


@pytest.fixture
def sister(bonded: Tester) -> Iterator[Sister]:
    made = Sister(bonded)
    yield made
    made.close()
    bonded.forget()


@pytest.fixture
def node(bonded: Tester, sister: Sister, tmp_path: Path) -> Iterator[Any]:
    with FakeNode(bonded, tmp_path / "log", (), ready=False, command=COMMAND) as made:
        yield made
    text = (tmp_path / "log").read_text()
    assert "Traceback" not in text and "terminate" not in text, text


def _activated(tester: Tester) -> Manager:
    manager = Manager(tester)
    assert manager.do(Transition.TRANSITION_CONFIGURE) and manager.do(Transition.TRANSITION_ACTIVATE)
    return manager


def test_an_active_node_tells_that_it_is_alive(bonded: Tester, sister: Sister, node) -> None:
    manager = _activated(bonded)
    status = sister.next(active=True)
    assert (status.heartbeat_period, status.heartbeat_timeout) == (pytest.approx(0.1), 4.0) and status.header.stamp.sec
    sister.say(active=True)
    sister.say(active=False, bond="another_node")
    count = len(sister.heard())
    bonded.wait(lambda: len(sister.heard()) > count + 15, "it again and again", 10.0)
    assert {m.instance_id for m in sister.heard()} == {status.instance_id}

    assert manager.do(Transition.TRANSITION_DEACTIVATE)
    bonded.wait(lambda: not sister.heard()[-1].active, "the end of the bond")
    sister.say(active=False)
    sister.wait_for_silence()
    assert manager.do(Transition.TRANSITION_ACTIVATE)
    assert sister.next(active=True).instance_id != status.instance_id, "another bond"
    assert node.child.end() == 0
    bonded.wait(lambda: not sister.heard()[-1].active, "a last word")


def test_the_end_is_not_told_for_ever(bonded: Tester, sister: Sister, node) -> None:
    manager = _activated(bonded)
    sister.next(active=True)
    assert manager.do(Transition.TRANSITION_DEACTIVATE)
    sister.wait_for_silence()
    assert not sister.heard()[-1].active and manager.state() == State.PRIMARY_STATE_INACTIVE


def test_a_manager_that_breaks_the_bond_is_answered(bonded: Tester, sister: Sister, node) -> None:
    manager = _activated(bonded)
    sister.next(active=True)

    def answered() -> bool:
        sister.say(active=False)  # again, as a manager does: the node may not have met this publisher yet
        return not sister.heard()[-1].active
    bonded.wait(answered, "the answer")
    sister.wait_for_silence()
    assert manager.state() == State.PRIMARY_STATE_ACTIVE, "which is the manager's to change"


def test_a_node_that_was_killed_is_silent(bonded: Tester, sister: Sister, node) -> None:
    _activated(bonded)
    assert sister.next(active=True)
    node.child.process.kill()
    sister.wait_for_silence()
    assert sister.heard()[-1].active, "no last word: the manager's time-out tells"


def test_without_the_package_there_is_no_bond(tester: Tester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bonds, "status_type", lambda: None)
    bond = bonds.Bond(tester.node)
    bond.form()
    bond.dissolve()
    bond.end()
    assert not bond.possible and tester.node.count_publishers(f"{tester.namespace}/bond") == 0
