"""Simulated time, /clock driven by the test: what follows it, and what goes on while it stands.

Stamps, and what is told by them (transforms, how long objects go unseen), follow the simulation. Waits and the ages of
images since their arrival run in real time: a clock that stands holds up nothing.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

from harness import S, FakeNode, calibration, stamp  # noqa: E402
from kyvo_msgs.srv import Ask  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from standing import ARGUMENTS, Standing  # noqa: E402

ERROR = 2
FORGOTTEN_AFTER_S = 0.5
SIMULATED = ("-p", "use_sim_time:=true", "-r", "/clock:=clock", "-p", f"memory_forget_after_s:={FORGOTTEN_AFTER_S}")


class Simulation(Standing):
    """Stands at `now_ns` unless it is told to go on."""

    def __enter__(self) -> Simulation:
        super().__enter__()
        self._clock = self.node.create_publisher(Clock, "clock", 1)
        return self

    def go_to(self, now_ns: int) -> None:
        """Until the node's own stamps say so."""
        self.now_ns = now_ns
        expected = stamp(now_ns)

        def followed() -> bool:
            self._clock.publish(Clock(clock=expected))
            return any(message.header.stamp == expected for message in self.heard["/diagnostics"][-1:])
        self.wait(followed, f"diagnostics of {now_ns / S} s")


def _ids(robot: Standing) -> set[str]:
    return {item.id for item in robot.heard["scene_graph"][-1].objects}


def test_stamps_follow_the_clock_and_nothing_waits_for_one_that_stands(tester, tmp_path: Path) -> None:
    with Simulation("/simulated") as robot:
        ask = robot.node.create_client(Ask, "ask")
        with FakeNode(robot, tmp_path / "log", (*ARGUMENTS, *SIMULATED), ready=False) as node:
            robot.wait(robot.statuses, "diagnostics before any clock")
            assert robot.heard["/diagnostics"][-1].header.stamp == stamp(0)
            robot.go_to(2000 * S)
            robot.see_graph(step_s=0.01)
            first = _ids(robot)
            time.sleep(1.2 * FORGOTTEN_AFTER_S)  # of real time, while the simulation stands
            robot.see(step_s=0.01)
            assert _ids(robot) == first, "objects go unseen by the images' time"

            asked = Ask.Request(question="how many things are there", max_age_s=0.2)

            def too_old() -> bool:  # once the last of the images that were sent has become so
                response = robot.call(ask, asked)
                return not response.success and "max_age_s = 0.2" in response.message
            robot.wait(too_old, "ages that run in real time")

            def look_lost() -> None:
                robot.infos.publish(calibration("lost"))
                robot.send_image(frame_id="lost")
            robot.wait_said(ERROR, "the scene graph leaves frames out", look_lost)  # after a wait in real time, too
            assert robot.heard["/diagnostics"][-1].header.stamp == stamp(2000 * S), "told while the clock stands"

            robot.go_to(2060 * S)
            robot.see(shown=1, step_s=0.01)
            robot.wait(lambda: len(_ids(robot)) == 1, "objects that went unseen for a minute to be forgotten at once")
            robot.now_ns = 1000 * S  # a simulation that starts again
            robot.see(step_s=0.01)
            robot.go_to(1000 * S)
            assert int(robot.values()["time jumps back"]) >= 1
            assert node.child.end() == 0, "ends while the clock stands, too"
            assert "Traceback" not in node.log.read_text()
