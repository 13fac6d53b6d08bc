"""Fixtures of the node's tests: real DDS on the loopback, in a domain of its own, with a node in another process.

Tests without ROS do not use them. One rclpy context and one node serve the whole session; every test leaves the
node's parameters as it found them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from harness import FakeNode, Tester
except ImportError:  # no ROS here: the tests that need it skip, see `tester`
    FakeNode = Tester = None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have a test that speaks over real DDS try twice, as colcon's --retest-until-pass does: it shares two cores with all
    others, and what one of a thousand does not hear in time says nothing about the node. Whatever was tried again shows
    in the summary of the tests (-r R).
    """
    if not config.pluginmanager.hasplugin("rerunfailures"):
        return
    for item in items:
        if "tester" in getattr(item, "fixturenames", ()):  # on which all fixtures build that speak over DDS
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def tester() -> Iterator[Tester]:
    """A client of the node in this process."""
    if Tester is None:
        pytest.skip("needs ROS 2 (rclpy, kyvo_msgs, vision_msgs): make setup")
    import rclpy
    with Tester() as made:
        yield made
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def shared_node(tester: Tester, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    with FakeNode(tester, tmp_path_factory.mktemp("node") / "node.log") as made:
        yield made


@pytest.fixture
def node(shared_node: FakeNode, tester: Tester) -> Iterator[FakeNode]:
    """The node of the session, healthy and with default parameters."""
    tester.forget()
    yield shared_node
    assert shared_node.child.running(), f"the node ended:\n{shared_node.log.read_text()}"
    shared_node.restore()


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
