"""Mailboxes with one slot for each sender, in which the newest letter wins.

A camera is faster than inference; a queue would only grow old. Whoever puts never waits; whoever takes gets the newest
letters, those first whose sender has waited longest for its turn. Knows nothing of ROS or images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Slot(Generic[T]):
    """One sender's place for one letter; made by `Mailbox.slot`."""

    def __init__(self, changed: threading.Condition, min_period_s: Callable[[], float]) -> None:
        self._changed, self._min_period_s = changed, min_period_s
        self._item: T | None = None
        self._last_taken_s = -float("inf")

    def put(self, item: T) -> T | None:
        """Store `item` and return the one it replaced, None where the slot was empty."""
        if item is None:
            raise ValueError("None marks the empty slot and cannot be stored")
        with self._changed:
            replaced, self._item = self._item, item
            self._changed.notify_all()
            return replaced

    def clear(self) -> T | None:
        """Empty the slot and return what was in it."""
        with self._changed:
            item, self._item = self._item, None
            return item

    @property
    def filled(self) -> bool:
        return self._item is not None

    @property
    def due_s(self) -> float:
        """When the next letter may be taken, by time.monotonic(): the least period after the last one."""
        return self._last_taken_s + self._min_period_s()

    @property
    def held(self) -> bool:
        """Whether the least period, not the taker, keeps a letter waiting now."""
        return time.monotonic() < self.due_s

    def take(self, now_s: float) -> T:
        """What is in the slot, which must be filled; for the mailbox."""
        item, self._item, self._last_taken_s = self._item, None, now_s
        return item


class Mailbox(Generic[T]):
    """Slots for any number of senders and one taker; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: list[Slot[T]] = []  # the one whose turn is next comes first

    def slot(self, min_period_s: Callable[[], float] = lambda: 0.0) -> Slot[T]:
        """A new sender's; `min_period_s` is asked for the least time in seconds between two letters that are taken."""
        slot: Slot[T] = Slot(self._changed, min_period_s)
        with self._changed:
            self._slots.append(slot)
        return slot

    def remove(self, slot: Slot[T]) -> T | None:
        """Take a sender's slot away and return what was in it."""
        with self._changed:
            if slot in self._slots:
                self._slots.remove(slot)
        return slot.clear()

    def take(self, timeout_s: float, interrupted: Callable[[], bool] = lambda: False, most: int = 1) -> list[T]:
        """The letters of up to `most` senders whose turn it is, waited for up to `timeout_s` seconds or until
        `interrupted()`; empty where none came. With `most` of 0 it only waits.

        After a change of what `interrupted` looks at, call `wake`.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not interrupted():
                now_s = time.monotonic()
                filled = [slot for slot in self._slots if slot.filled] if most else []
                ready = [slot for slot in filled if slot.due_s <= now_s][:most]
                if ready:
                    self._slots = [slot for slot in self._slots if slot not in ready] + ready
                    return [slot.take(now_s) for slot in ready]
                if now_s >= deadline_s:
                    break
                self._changed.wait(min([deadline_s, *(slot.due_s for slot in filled)]) - now_s)
        return []

    def wake(self) -> None:
        """Make a waiting `take` look at `interrupted` again."""
        with self._changed:
            self._changed.notify_all()
