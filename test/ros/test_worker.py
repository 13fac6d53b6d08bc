"""The worker: guarded, newest first, errands before items, a rate limit, and an end that joins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.worker import Worker, WorkerStoppedError


class Bench:
    """A worker whose handler records items, waits for `gate` and raises for negative ones."""

    def __init__(self, min_period_s: float = 0.0) -> None:
        self.mailbox: Mailbox[int] = Mailbox()
        self.box = self.mailbox.slot(lambda: min_period_s)
        self.done: list[tuple[int, float]] = []
        self.failures: list[tuple[int, str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.most = 1
        self.worker = Worker(self.mailbox, self._handle, self._failed, lambda: self.most)
        self.worker.start()

    def _failed(self, items: list[int], error: Exception) -> None:
        self.failures += [(item, str(error)) for item in items]

    def _handle(self, items: list[int]) -> None:
        item = sum(items)
        self.entered.set()
        self.gate.wait(10.0)
        if item < 0:
            raise ValueError(f"bad item {item}")
        self.done.append((item, time.monotonic()))

    def wait(self, condition, limit_s: float = 5.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "the worker did not get there in time"
            time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    assert made.worker.stop(5.0)


def test_one_bad_item_does_not_end_the_thread(bench: Bench) -> None:
    for item in (1, -2, 3):
        bench.box.put(item)
        bench.wait(lambda: len(bench.done) + len(bench.failures) >= abs(item))
    assert [item for item, _ in bench.done] == [1, 3]
    assert bench.failures == [(-2, "bad item -2")]
    assert bench.worker.alive


def test_only_the_newest_item_waits_behind_a_slow_one(bench: Bench) -> None:
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    for item in range(2, 10):
        bench.box.put(item)
    bench.gate.set()
    bench.wait(lambda: len(bench.done) == 2)
    assert [item for item, _ in bench.done] == [1, 9]


def test_errands_go_before_the_waiting_item_and_carry_results_and_errors(bench: Bench) -> None:
    order: list[str] = []
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    bench.box.put(2)
    good = bench.worker.submit(lambda: order.append(f"errand after {len(bench.done)}") or 42)
    bad = bench.worker.submit(lambda: 1 / 0)
    bench.gate.set()
    assert good.result(5.0) == 42
    assert isinstance(bad.exception(5.0), ZeroDivisionError)
    bench.wait(lambda: len(bench.done) == 2)
    assert order == ["errand after 1"]


def test_waiting_items_of_several_senders_are_one_job_where_that_is_allowed(bench: Bench) -> None:
    other = bench.mailbox.slot()
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    bench.most = 2
    bench.box.put(20)
    other.put(300)
    bench.gate.set()
    bench.wait(lambda: len(bench.done) == 2)
    assert [item for item, _ in bench.done] == [1, 320]


def test_an_errand_wakes_an_idle_worker_at_once(bench: Bench) -> None:
    time.sleep(0.05)
    start = time.monotonic()
    assert bench.worker.submit(lambda: "done").result(5.0) == "done"
    assert time.monotonic() - start < 0.5


def test_a_cancelled_errand_does_not_run(bench: Bench) -> None:
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    ran: list[int] = []
    future = bench.worker.submit(lambda: ran.append(1))
    assert future.cancel()
    bench.gate.set()
    bench.worker.submit(lambda: None).result(5.0)
    assert not ran


def test_the_rate_limit_holds_items_but_not_errands() -> None:
    bench = Bench(min_period_s=0.2)
    bench.box.put(1)
    bench.wait(lambda: len(bench.done) == 1)
    bench.box.put(2)
    bench.box.put(3)
    bench.wait(lambda: bench.box.held)
    start = time.monotonic()
    bench.worker.submit(lambda: None).result(5.0)
    assert time.monotonic() - start < 0.15
    bench.wait(lambda: len(bench.done) == 2)
    assert bench.worker.stop(5.0)
    (first, first_s), (second, second_s) = bench.done
    assert (first, second) == (1, 3)
    assert second_s - first_s >= 0.19


def test_stop_finishes_the_running_item_and_refuses_errands() -> None:
    bench = Bench()
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    waiting = bench.worker.submit(lambda: None)
    threading.Timer(0.1, bench.gate.set).start()
    assert bench.worker.stop(5.0)
    assert [item for item, _ in bench.done] == [1]
    assert isinstance(waiting.exception(1.0), WorkerStoppedError)
    with pytest.raises(WorkerStoppedError):
        bench.worker.submit(lambda: None)


def test_stop_says_when_the_running_item_does_not_end() -> None:
    bench = Bench()
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    assert not bench.worker.stop(0.05)
    bench.gate.set()
    assert bench.worker.stop(5.0)


def test_a_call_gives_the_result_or_takes_its_errand_back(bench: Bench) -> None:
    assert bench.worker.call(lambda: 42, 5.0) == 42
    with pytest.raises(ZeroDivisionError):
        bench.worker.call(lambda: 1 / 0, 5.0)
    bench.gate.clear()
    bench.box.put(1)
    bench.entered.wait(5.0)
    ran: list[int] = []
    with pytest.raises(FutureTimeoutError):
        bench.worker.call(lambda: ran.append(1), 0.05)
    bench.gate.set()
    assert bench.worker.call(lambda: 43, 5.0) == 43 and not ran
