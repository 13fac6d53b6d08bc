"""The inference thread: one job at a time, errands first, then the newest items of the mailbox.

Every job is guarded: one that raises is reported and the thread goes on. Knows nothing of ROS, images or models.
"""

from __future__ import annotations

import threading
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
    """Runs `handle(items)` for the newest items of a mailbox, and errands given by `submit`, in one thread.

    `failed(items, error)` hears of every exception of `handle`. `most()` is asked before each job: from how many
    senders items are taken at once.
    """

    def __init__(self, mailbox: Mailbox[T], handle: Callable[[list[T]], None],
                 failed: Callable[[list[T], Exception], None], most: Callable[[], int] = lambda: 1) -> None:
        self._mailbox = mailbox
        self._handle = handle
        self._failed = failed
        self._most = most
        self._errands: deque[tuple[Callable[[], Any], Future]] = deque()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kyvo_inference", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def submit(self, errand: Callable[[], Any]) -> Future:
        """Run `errand` in the thread before the next items; the future carries its result or exception.

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
            items = self._mailbox.take(timeout_s=1.0, interrupted=self._interrupted, most=self._most())
            if items:
                self._guarded(items)

    def _guarded(self, items: list[T]) -> None:
        try:
            self._handle(items)
        except Exception as error:  # the boundary of the thread: whatever one job does, the next one gets its turn
            self._failed(items, error)

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
