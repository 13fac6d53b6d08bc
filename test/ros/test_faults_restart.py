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


def test_latched_readers_get_the_new_node_s_data_and_no_name_stays_twice(tester, tmp_path: Path) -> None:
    with Standing("/again") as robot:
        name = ("kyvo_node", "/again")
        with FakeNode(robot, tmp_path / "first", ARGUMENTS, ready=False) as first:
            robot.see_graph()
            first.child.process.kill()
            assert first.child.process.wait(30.0) == -signal.SIGKILL

        def quiet() -> bool:
            count = len(robot.heard["scene_graph"]) + len(robot.kept_scenes)
            time.sleep(1.0)
            return len(robot.heard["scene_graph"]) + len(robot.kept_scenes) == count
        robot.wait(quiet, "the last of what it had sent")
        robot.forget()
        robot.kept_scenes.clear()
        killed_ns = robot.now_ns
        with FakeNode(robot, tmp_path / "second", ARGUMENTS, ready=False, alone=False) as second:
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
