"""The executor of the node: callbacks in a pool of threads, each handed over before the next one is waited for.

rclpy's own MultiThreadedExecutor offers a callback again and again until a thread of its pool gets to it. Where threads
compete for Python's lock with inference, that takes long, and meanwhile it burns half a core, which inference lacks.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, ShutdownException, TimeoutException
from rclpy.node import Node
from rclpy.task import Task


class BriefCallbackGroup(MutuallyExclusiveCallbackGroup):
    """Of callbacks that only store something: not worth another thread, which would have to wait for Python's lock."""


class PoolExecutor(Executor):
    """Runs up to `threads` callbacks at the same time, and brief ones itself; waits where so many are running."""

    def __init__(self, threads: int, context: Context | None = None) -> None:
        super().__init__(context=context)
        self._pool = ThreadPoolExecutor(threads, "callback")
        self._failures: deque[BaseException] = deque()

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback or hand it to the pool. Raises what an earlier one raised, and ExternalShutdownException."""
        if self._failures:
            raise self._failures.popleft()
        try:
            task, entity, _ = self.wait_for_ready_callbacks(timeout_sec=timeout_sec)
        except (ShutdownException, TimeoutException):
            return
        if entity is not None and isinstance(entity.callback_group, BriefCallbackGroup):
            self._execute(task)
            return
        begun = threading.Event()
        try:
            self._pool.submit(self._execute, task, begun.set)
        except RuntimeError:  # shut down meanwhile
            return
        begun.wait()

    def _execute(self, task: Task, begin: Callable[[], None] = lambda: None) -> None:
        begin()
        task()
        failure = task.exception()
        if failure is not None:
            self._failures.append(failure)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Take no more callbacks, and wait for those that run; with a time limit, not for those of the pool."""
        done = super().shutdown(timeout_sec)
        self._pool.shutdown(wait=timeout_sec is None)
        return done


def spin(executor: Executor, node: Node, stop: threading.Event) -> None:
    """Run callbacks until the executor is shut down; one that raises is logged and ends nothing."""
    while not stop.is_set():
        try:
            executor.spin()
        except ExternalShutdownException:
            stop.set()
        except InvalidHandle as error:  # a subscription or service was taken back while rclpy waited for it
            node.get_logger().debug(str(error))
        except Exception:  # what a callback raises
            node.get_logger().error("a callback failed:\n" + traceback.format_exc())
