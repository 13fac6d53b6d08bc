"""The worker: guarded, newest first, errands before items, several at once in order, a rate limit, an end that joins."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError

import pytest

from kyvo_ros.ros.mailbox import Mailbox
from kyvo_ros.ros.worker import Job, Worker, WorkerStoppedError


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
        self.parallel = 1
        self.began: list[int] = []
        self.held: set[int] = set()  # items whose computation waits until it is let go
        self.worker = Worker(self.mailbox, self._handle, self._failed, lambda: self.most, lambda: self.parallel)
        self.worker.start()

    def _failed(self, items: list[int], error: Exception) -> None:
        self.failures += [(item, str(error)) for item in items]

    def _handle(self, items: list[int]) -> Job:
        item = sum(items)
        self.began.append(item)
        value = yield lambda: self._compute(item)
        self.done.append((value, time.monotonic()))

    def _compute(self, item: int) -> int:
        self.entered.set()
        self.gate.wait(60.0)
        deadline = time.monotonic() + 60.0
        while item in self.held and time.monotonic() < deadline:
            time.sleep(0.002)
        if item < 0:
            raise ValueError(f"bad item {item}")
        return item

    def wait(self, condition, limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "the worker did not get there in time"
            time.sleep(0.002)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.gate.set()
    assert made.worker.stop(30.0)


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
    assert bench.entered.wait(30.0)
    for item in range(2, 10):
        bench.box.put(item)
    bench.gate.set()
    bench.wait(lambda: len(bench.done) == 2)
    assert [item for item, _ in bench.done] == [1, 9]


def test_errands_go_before_the_waiting_item_and_carry_results_and_errors(bench: Bench) -> None:
    order: list[str] = []
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    bench.box.put(2)
    good = bench.worker.submit(lambda: order.append(f"errand after {len(bench.done)}") or 42)
    bad = bench.worker.submit(lambda: 1 / 0)
    bench.gate.set()
    assert good.result(30.0) == 42
    assert isinstance(bad.exception(30.0), ZeroDivisionError)
    bench.wait(lambda: len(bench.done) == 2)
    assert order == ["errand after 1"]


def test_waiting_items_of_several_senders_are_one_job_where_that_is_allowed(bench: Bench) -> None:
    other = bench.mailbox.slot()
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    bench.most = 2
    bench.box.put(20)
    other.put(300)
    bench.gate.set()
    bench.wait(lambda: len(bench.done) == 2)
    assert [item for item, _ in bench.done] == [1, 320]


def test_an_errand_wakes_an_idle_worker_at_once(bench: Bench) -> None:
    time.sleep(0.05)
    waits_s = []
    for _ in range(5):
        start = time.monotonic()
        assert bench.worker.submit(lambda: "done").result(30.0) == "done"
        waits_s.append(time.monotonic() - start)
    assert min(waits_s) < 0.5, "it looks by itself once a second; a busy machine may be late"


def test_a_cancelled_errand_does_not_run(bench: Bench) -> None:
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    ran: list[int] = []
    future = bench.worker.submit(lambda: ran.append(1))
    assert future.cancel()
    bench.gate.set()
    bench.worker.submit(lambda: None).result(30.0)
    assert not ran


def test_an_errand_taken_back_keeps_no_other_from_hearing_of_the_end(bench: Bench) -> None:
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    with pytest.raises(FutureTimeoutError):
        bench.worker.call(lambda: None, 0.01)
    behind = bench.worker.submit(lambda: None)
    threading.Timer(0.05, bench.gate.set).start()
    assert bench.worker.stop(30.0)
    assert isinstance(behind.exception(30.0), WorkerStoppedError)


def test_the_rate_limit_holds_items_but_not_errands() -> None:
    bench = Bench(min_period_s=2.0)
    bench.box.put(1)
    bench.wait(lambda: len(bench.done) == 1)
    bench.box.put(2)
    bench.box.put(3)
    bench.wait(lambda: bench.box.held)
    start = time.monotonic()
    bench.worker.submit(lambda: None).result(30.0)
    assert time.monotonic() - start < 1.5
    bench.wait(lambda: len(bench.done) == 2)
    assert bench.worker.stop(30.0)
    (first, first_s), (second, second_s) = bench.done
    assert (first, second) == (1, 3)
    assert second_s - first_s >= 1.9


def test_stop_finishes_the_running_item_and_refuses_errands() -> None:
    bench = Bench()
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    waiting = bench.worker.submit(lambda: None)
    threading.Timer(0.1, bench.gate.set).start()
    assert bench.worker.stop(30.0)
    assert [item for item, _ in bench.done] == [1]
    assert isinstance(waiting.exception(30.0), WorkerStoppedError)
    with pytest.raises(WorkerStoppedError):
        bench.worker.submit(lambda: None)


def test_stop_says_when_the_running_item_does_not_end() -> None:
    bench = Bench()
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    assert not bench.worker.stop(0.05)
    bench.gate.set()
    assert bench.worker.stop(30.0)


def test_a_call_gives_the_result_or_takes_its_errand_back(bench: Bench) -> None:
    assert bench.worker.call(lambda: 42, 30.0) == 42
    with pytest.raises(ZeroDivisionError):
        bench.worker.call(lambda: 1 / 0, 30.0)
    bench.gate.clear()
    bench.box.put(1)
    assert bench.entered.wait(30.0)
    ran: list[int] = []
    with pytest.raises(FutureTimeoutError):
        bench.worker.call(lambda: ran.append(1), 0.05)
    bench.gate.set()
    assert bench.worker.call(lambda: 43, 30.0) == 43 and not ran


def _begin(bench: Bench, *items: int) -> None:
    """Put items one by one, each once the one before has begun."""
    for item in items:
        bench.box.put(item)
        bench.wait(lambda: bench.began[-1:] == [item])


def test_jobs_overlap_and_end_in_the_order_in_which_they_began(bench: Bench) -> None:
    bench.parallel = 2
    bench.held |= {1}
    _begin(bench, 1, 2)
    bench.box.put(3)
    time.sleep(0.05)
    assert bench.began == [1, 2] and not bench.done, "two at a time, and the second waits for the first to end"
    bench.held.clear()
    bench.wait(lambda: len(bench.done) == 3)
    assert [item for item, _ in bench.done] == bench.began == [1, 2, 3]


def test_one_of_several_jobs_that_fails_takes_none_with_it(bench: Bench) -> None:
    bench.parallel = 3
    bench.held |= {1, -2, 3}
    _begin(bench, 1, -2, 3)
    bench.held.clear()
    bench.wait(lambda: len(bench.done) == 2)
    assert [item for item, _ in bench.done] == [1, 3] and bench.failures == [(-2, "bad item -2")]


def test_an_errand_waits_for_running_jobs_and_holds_the_next(bench: Bench) -> None:
    bench.parallel = 2
    bench.held |= {1}
    _begin(bench, 1)
    seen: list[tuple[int, int]] = []
    errand = bench.worker.submit(lambda: seen.append((len(bench.done), len(bench.began))))
    bench.box.put(2)
    time.sleep(0.05)
    assert not errand.done() and bench.began == [1]
    bench.held.clear()
    errand.result(30.0)
    assert seen == [(1, 1)]
    bench.wait(lambda: len(bench.done) == 2)


def test_stop_lets_all_running_jobs_end(bench: Bench) -> None:
    bench.parallel = 2
    bench.held |= {1, 2}
    _begin(bench, 1, 2)
    threading.Timer(0.1, bench.held.clear).start()
    assert bench.worker.stop(30.0)
    assert [item for item, _ in bench.done] == [1, 2]


def test_a_job_may_compute_nothing_and_no_more_than_once() -> None:
    mailbox: Mailbox[str] = Mailbox()
    box, failures, ended = mailbox.slot(), [], []

    def handle(items: list[str]) -> Job:
        for _ in range({"none": 0, "twice": 2}[items[0]]):
            yield lambda: None
        ended.append(items[0])
    worker = Worker(mailbox, handle, lambda items, error: failures.append((items, str(error))))
    worker.start()
    for item in ("twice", "none"):
        box.put(item)
        deadline = time.monotonic() + 30.0
        while not (failures if item == "twice" else ended):
            assert time.monotonic() < deadline
            time.sleep(0.002)
    assert worker.stop(30.0)
    assert failures == [(["twice"], "a job may compute once")] and ended == ["none"]
