"""A node that is killed and started again, while another process holds latched readers of what it said."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import FakeNode, S  # noqa: E402
from kyvo_msgs.msg import SceneGraph  # noqa: E402
from standing import ARGUMENTS, KEPT, Standing  # noqa: E402

PROFILE = Path(__file__).resolve().parents[2] / "config" / "loopback_dds.xml"
#: How long a killed process is taken for alive; Fast DDS's own value of 20 s is too long for a test.
LEASE_S = 3
LEASE = (f"<builtin><discovery_config><leaseDuration><sec>{LEASE_S}</sec></leaseDuration>"
         "<leaseAnnouncement><sec>1</sec></leaseAnnouncement></discovery_config></builtin>")


@pytest.fixture
def short_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that are started meanwhile are missed soon after they were killed."""
    text = PROFILE.read_text()
    assert text.count("</rtps>") == 1
    (tmp_path / "dds.xml").write_text(text.replace("</rtps>", f"{LEASE}</rtps>"))
    for variable in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "dds.xml"))


def test_latched_readers_get_the_new_node_s_data_and_no_name_stays_twice(tester, short_lease, tmp_path: Path) -> None:
    with Standing("/again") as robot:
        name = ("kyvo_node", "/again")
        with FakeNode(robot, tmp_path / "first", ARGUMENTS, ready=False) as first:
            robot.see_graph()
            first.child.process.kill()
            assert first.child.process.wait(5.0) == -signal.SIGKILL
        time.sleep(0.5)  # what it had sent is still on its way
        robot.forget()
        robot.kept_scenes.clear()
        killed_ns = robot.now_ns
        with FakeNode(robot, tmp_path / "second", ARGUMENTS, ready=False) as second:
            scene = robot.see()
            robot.wait(lambda: scene in robot.kept_scenes, "the new node's scene at the latched reader")
            graph = robot.see_graph()
            seen = [item.first_seen for heard in robot.heard["scene_graph"] for item in heard.objects]
            assert seen and min(s.sec * S + s.nanosec for s in seen) > killed_ns, "nothing of the old graph"
            late: list[SceneGraph] = []
            reader = robot.node.create_subscription(SceneGraph, "scene_graph", late.append, KEPT)
            robot.wait(lambda: late, "the kept graph")
            assert late == [graph], "a late comer gets the new node's graph, and nothing of the old one"
            robot.node.destroy_subscription(reader)
            robot.wait(lambda: robot.node.get_node_names_and_namespaces().count(name) == 1
                       and robot.node.count_publishers("/again/scene_graph") == 1, "the old node to be forgotten")
            assert second.child.end() == 0
            assert "Traceback" not in second.log.read_text()
