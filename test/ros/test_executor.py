"""The executor: callbacks side by side, none offered twice, failures told, an end that joins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

harness = pytest.importorskip("harness", reason="needs ROS 2")

import rclpy  # noqa: E402
from rclpy.callback_groups import CallbackGroup, MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup  # noqa: E402

from kyvo_ros.ros.executor import BriefCallbackGroup, PoolExecutor, spin  # noqa: E402


class Counting(PoolExecutor):
    """Counts how often it asks for work."""

    offers = 0

    def wait_for_ready_callbacks(self, *args, **kwargs):
        self.offers += 1
        return super().wait_for_ready_callbacks(*args, **kwargs)


class Spinning:
    """A node of its own context on an executor of two threads whose offers are counted."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("spinning", context=self.context, start_parameter_services=False,
                                      enable_rosout=False)
        self.executor, self.stop = Counting(2, context=self.context), threading.Event()
        self.executor.add_node(self.node)
        self.thread = threading.Thread(target=spin, args=(self.executor, self.node, self.stop))
        self.thread.start()

    def timer(self, callback: Callable[[], None], group: CallbackGroup | None = None) -> None:
        self.node.create_timer(0.02, callback, callback_group=group or ReentrantCallbackGroup())

    def close(self) -> None:
        self.stop.set()
        self.executor.shutdown()
        self.thread.join(10.0)
        assert not self.thread.is_alive()
        if self.context.ok():
            self.node.destroy_node()
            rclpy.shutdown(context=self.context)


@pytest.fixture
def spinning() -> Iterator[Spinning]:
    running = Spinning()
    yield running
    running.close()


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.005)


def test_callbacks_run_side_by_side(spinning: Spinning) -> None:
    both, met = threading.Barrier(2), []

    def meet() -> None:
        if not met:
            both.wait(20.0)
            met.append(True)
    spinning.timer(meet)
    spinning.timer(meet)
    wait_until(lambda: bool(met))


def test_what_waits_for_a_thread_is_offered_once(spinning: Spinning) -> None:
    """rclpy's own executor would offer what waits a thousand times meanwhile."""
    gate, entered = threading.Event(), []

    def hold() -> None:
        entered.append(True)
        gate.wait(20.0)
    for _ in range(4):
        spinning.timer(hold)
    wait_until(lambda: len(entered) == 2)
    before = spinning.executor.offers
    time.sleep(0.5)
    held = spinning.executor.offers - before
    gate.set()
    wait_until(lambda: len(entered) > 8)
    assert held < 10


def test_brief_callbacks_need_no_thread_of_the_pool(spinning: Spinning) -> None:
    gate, entered, brief = threading.Event(), [], []

    def hold() -> None:
        entered.append(True)
        gate.wait(20.0)
    for _ in range(2):
        spinning.timer(hold, MutuallyExclusiveCallbackGroup())
    wait_until(lambda: len(entered) == 2)
    spinning.timer(lambda: brief.append(threading.current_thread()), BriefCallbackGroup())
    wait_until(lambda: len(brief) > 2)
    gate.set()
    assert set(brief) == {spinning.thread}


@pytest.mark.parametrize("group", [BriefCallbackGroup, ReentrantCallbackGroup])
def test_a_callback_that_raises_ends_nothing(spinning: Spinning, capfd: pytest.CaptureFixture[str],
                                             group: type[CallbackGroup]) -> None:
    calls: list[int] = []

    def clumsy() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError("oops")
    spinning.timer(clumsy, group())
    said: list[str] = []

    def told() -> int:
        said.append(capfd.readouterr().err)
        return "".join(said).count("ValueError: oops")
    wait_until(lambda: told() >= 2)  # a thread that has failed may be slow to say so
    wait_until(lambda: len(calls) > 5)
    assert told() == 2


def test_the_end_waits_for_what_runs(spinning: Spinning) -> None:
    entered, left = threading.Event(), []

    def slow() -> None:
        entered.set()
        time.sleep(0.3)
        left.append(True)
    spinning.timer(slow)
    assert entered.wait(20.0)
    spinning.close()
    assert left


def test_a_context_that_is_gone_ends_it(spinning: Spinning) -> None:
    rclpy.shutdown(context=spinning.context)
    spinning.thread.join(20.0)
    assert not spinning.thread.is_alive() and spinning.stop.is_set()
