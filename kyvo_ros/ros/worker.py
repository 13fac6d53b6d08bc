"""The worker: jobs begin and end in one thread, in order, and what they compute in between runs beside other jobs.

Errands come first, then the newest items of the mailbox. A job is a generator: what it yields is computed in a pool,
and it goes on with the outcome; so a camera's frames overlap, and yet whatever has a state is touched by one thread,
frame after frame. Every job is guarded: one that raises is reported and the thread goes on. Knows nothing of ROS,
images or models.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Generic, NamedTuple, TypeVar

from kyvo_ros.ros.mailbox import Mailbox

T = TypeVar("T")
#: What a job is: it yields at most one function, and is sent what that returns.
Job = Generator[Callable[[], Any], Any, None]
#: Most jobs that are computed at the same time.
MOST_PARALLEL = 16


class WorkerStoppedError(RuntimeError):
    """An errand was given to a worker that has stopped, or was still waiting when it stopped."""


class _Running(NamedTuple):
    items: list
    job: Job
    computed: Future


class Worker(Generic[T]):
    """Runs the job `handle(items)` for the newest items of a mailbox, and errands given by `submit`.

    `failed(items, error)` hears of every exception of a job. Asked before each job: `most()`, from how many senders
    items are taken at once, and `parallel()`, how many jobs may be computed at the same time. Errands run while no job
    does.
    """

    def __init__(self, mailbox: Mailbox[T], handle: Callable[[list[T]], Job],
                 failed: Callable[[list[T], Exception], None], most: Callable[[], int] = lambda: 1,
                 parallel: Callable[[], int] = lambda: 1) -> None:
        self._mailbox = mailbox
        self._handle = handle
        self._failed = failed
        self._most, self._parallel = most, parallel
        self._errands: deque[tuple[Callable[[], Any], Future]] = deque()
        self._running: deque[_Running] = deque()  # in the order in which they began
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(MOST_PARALLEL, thread_name_prefix="kyvo_inference")
        self._thread = threading.Thread(target=self._run, name="kyvo_worker", daemon=True)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def submit(self, errand: Callable[[], Any]) -> Future:
        """Run `errand` in the thread before the next job, once none is running; the future carries its result or
        exception.

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
        """Finish the running jobs, cancel the waiting ones and join the thread; True where it ended in time."""
        with self._guard:
            self._stopping.set()
            waiting, self._errands = self._errands, deque()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():  # not one that its caller has taken back
                future.set_exception(WorkerStoppedError("the node is shutting down"))
        self._mailbox.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def _wanted(self) -> bool:
        """Whether the running jobs have to end before anything else begins."""
        return bool(self._errands) or self._stopping.is_set()

    def _interrupted(self) -> bool:
        return self._wanted or bool(self._running) and self._running[0].computed.done()

    def _run(self) -> None:
        while self._running or not self._stopping.is_set():
            if self._running and (self._wanted or self._running[0].computed.done()):
                self._finish(self._running.popleft())
                continue
            self._run_errands()
            room = len(self._running) < min(self._parallel(), MOST_PARALLEL)
            items = self._mailbox.take(1.0, self._interrupted, self._most() if room else 0)
            if items:
                self._begin(items)
        self._pool.shutdown(wait=False)

    def _begin(self, items: list[T]) -> None:
        try:
            job = self._handle(items)
            computed = self._pool.submit(next(job))
        except StopIteration:  # there is nothing to compute
            return
        except Exception as error:  # the boundary of a job: whatever one does, the next one gets its turn
            self._failed(items, error)
            return
        self._running.append(_Running(items, job, computed))
        computed.add_done_callback(lambda _: self._mailbox.wake())

    def _finish(self, running: _Running) -> None:
        """Wait for what the job computes and let it go on."""
        try:
            running.job.send(running.computed.result())
        except StopIteration:
            return
        except Exception as error:  # the boundary of a job
            running.job.close()
            self._failed(running.items, error)
            return
        running.job.close()
        self._failed(running.items, RuntimeError("a job may compute once"))

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
