"""The inference thread: one job at a time, errands first, then the newest item of the mailbox.

Every job is guarded: one that raises is reported and the thread goes on. Knows nothing of ROS, images or models.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, TypeVar

from kyvo_ros.ros.mailbox import Mailbox

T = TypeVar("T")


class WorkerStoppedError(RuntimeError):
    """An errand was given to a worker that has stopped, or was still waiting when it stopped."""


class Worker(Generic[T]):
    """Runs `handle(item)` for the newest item of a mailbox, and errands given by `submit`, in one thread.

    `failed(item, error)` hears of every exception of `handle`. `min_period_s()` is asked before each item: the least
    time in seconds between the starts of two items (0 for none).
    """

    def __init__(self, mailbox: Mailbox[T], handle: Callable[[T], None], failed: Callable[[T, Exception], None],
                 min_period_s: Callable[[], float] = lambda: 0.0) -> None:
        self._mailbox = mailbox
        self._handle = handle
        self._failed = failed
        self._min_period_s = min_period_s
        self._errands: deque[tuple[Callable[[], Any], Future]] = deque()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._pausing = False
        self._last_start_s = -float("inf")
        self._thread = threading.Thread(target=self._run, name="kyvo_inference", daemon=True)

    @property
    def pausing(self) -> bool:
        """True while the rate limit, not the work, keeps the next item waiting."""
        return self._pausing

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def submit(self, errand: Callable[[], Any]) -> Future:
        """Run `errand` in the thread before the next item; the future carries its result or exception.

        Raises WorkerStoppedError after `stop`.
        """
        future: Future = Future()
        with self._guard:
            if self._stopping.is_set():
                raise WorkerStoppedError("the node is shutting down")
            self._errands.append((errand, future))
        self._mailbox.wake()
        return future

    def call(self, errand: Callable[[], Any], timeout_s: float) -> Any:
        """`submit`, and wait for the result; an errand that has not begun by then is taken back.

        Raises what the errand raises, concurrent.futures.TimeoutError, WorkerStoppedError.
        """
        future = self.submit(errand)
        try:
            return future.result(timeout=timeout_s)
        except FutureTimeoutError:
            future.cancel()
            raise

    def stop(self, timeout_s: float = 30.0) -> bool:
        """Finish the running job, cancel the waiting ones and join the thread; True where it ended in time."""
        with self._guard:
            self._stopping.set()
            waiting, self._errands = self._errands, deque()
        for _, future in waiting:
            future.set_exception(WorkerStoppedError("the node is shutting down"))
        self._mailbox.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _interrupted(self) -> bool:
        return bool(self._errands) or self._stopping.is_set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._run_errands()
            if not self._rate_allows():
                continue
            item = self._mailbox.take(timeout_s=1.0, interrupted=self._interrupted)
            if item is not None:
                self._last_start_s = time.monotonic()
                self._guarded(item)

    def _rate_allows(self) -> bool:
        """Wait up to a second for the next item's turn (an errand ends the wait); True when it has come."""
        wait_s = self._last_start_s + self._min_period_s() - time.monotonic()
        if wait_s <= 0:
            return True
        self._pausing = True
        self._mailbox.pause(min(wait_s, 1.0), self._interrupted)
        self._pausing = False
        return False

    def _guarded(self, item: T) -> None:
        try:
            self._handle(item)
        except Exception as error:  # the boundary of the thread: whatever one frame does, the next one gets its turn
            self._failed(item, error)

    def _run_errands(self) -> None:
        while True:
            with self._guard:
                if not self._errands:
                    return
                errand, future = self._errands.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(errand())
            except Exception as error:  # handed to whoever waits for the future
                future.set_exception(error)
