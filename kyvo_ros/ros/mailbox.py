"""A mailbox with one slot in which the newest letter wins.

A camera is faster than inference; a queue would only grow old. Whoever puts never waits; whoever takes gets the
newest letter. Knows nothing of ROS or images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Thread-safe slot for one item; counts what came, what was taken and what a newer one replaced."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._received = 0
        self._taken = 0
        self._replaced = 0

    def put(self, item: T) -> T | None:
        """Store `item` and return the one it replaced, None where the slot was empty."""
        if item is None:
            raise ValueError("None marks the empty slot and cannot be stored")
        with self._changed:
            replaced, self._item = self._item, item
            self._received += 1
            self._replaced += replaced is not None
            self._changed.notify_all()
            return replaced

    def take(self, timeout_s: float, interrupted: Callable[[], bool] = lambda: False) -> T | None:
        """The newest item, waited for up to `timeout_s` seconds or until `interrupted()`; None where none came.

        After a change of what `interrupted` looks at, call `wake`.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._item is None and not interrupted():
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break
            if interrupted():
                return None
            item, self._item = self._item, None
            self._taken += item is not None
            return item

    def pause(self, duration_s: float, interrupted: Callable[[], bool]) -> None:
        """Leave the slot alone for `duration_s` seconds or until `interrupted()`; letters may arrive meanwhile."""
        deadline = time.monotonic() + duration_s
        with self._changed:
            while not interrupted():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def wake(self) -> None:
        """Make waiting calls look at `interrupted` again."""
        with self._changed:
            self._changed.notify_all()

    def clear(self) -> T | None:
        """Empty the slot and return what was in it."""
        with self._changed:
            item, self._item = self._item, None
            return item

    def counts(self) -> dict[str, int]:
        """Items `received`, `taken` and `replaced` by a newer one since the start."""
        with self._changed:
            return {"received": self._received, "taken": self._taken, "replaced": self._replaced}
