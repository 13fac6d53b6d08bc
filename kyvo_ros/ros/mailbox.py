"""Mailboxes with a slot for each sender, in which the newest letter wins.

A camera is faster than inference; a queue would only grow old. Whoever puts never waits; whoever takes gets the newest
letters, those first whose sender has waited longest for its turn. A letter may lack something that comes later (a
transform, depth): it waits in its slot, and the taker serves other senders meanwhile. Knows nothing of ROS or images.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
#: How soon a letter that lacks something is looked at again.
_LOOK_AGAIN_S = 0.01


class _Letter(NamedTuple):
    item: object
    came_s: float  # time.monotonic()


class Slot(Generic[T]):
    """One sender's place; made by `Mailbox.slot`.

    It holds up to three letters: one that may be taken, a newer one that is waited for, and the newest. The newest
    alone would not do: where what a letter lacks comes later than the next letter, none would ever be complete.
    """

    def __init__(self, changed: threading.Condition, min_period_s: Callable[[], float],
                 patience_s: Callable[[T], float], replaced: Callable[[T], None]) -> None:
        self._changed, self._min_period_s = changed, min_period_s
        self._patience_s, self._replaced = patience_s, replaced
        self._ready: _Letter | None = None
        self._awaited: _Letter | None = None
        self._newest: _Letter | None = None
        self._last_taken_s = -float("inf")

    def put(self, item: T) -> None:
        """Store the newest letter; `replaced` hears of those for which there is no room or no need any more."""
        if item is None:
            raise ValueError("None marks the empty slot and cannot be stored")
        with self._changed:
            if self._newest is not None:
                self._replaced(self._newest.item)
            self._newest = _Letter(item, time.monotonic())
            self.advance(self._newest.came_s)
            self._changed.notify_all()

    def clear(self) -> list[T]:
        """Empty the slot and return what was in it, oldest first."""
        with self._changed:
            letters = [letter for letter in (self._ready, self._awaited, self._newest) if letter is not None]
            self._ready = self._awaited = self._newest = None
            return [letter.item for letter in letters]

    @property
    def filled(self) -> bool:
        """Whether any letter is there."""
        return any(letter is not None for letter in (self._ready, self._awaited, self._newest))

    @property
    def due_s(self) -> float:
        """When the next letter may be taken, by time.monotonic(): the least period after the last one."""
        return self._last_taken_s + self._min_period_s()

    @property
    def held(self) -> bool:
        """Whether the least period, not the taker, keeps a letter waiting now."""
        return time.monotonic() < self.due_s

    def advance(self, now_s: float) -> None:
        """Let the newest letter that waits no longer be the one that may be taken; for the mailbox."""
        while True:
            if self._awaited is None:
                self._awaited, self._newest = self._newest, None
            if self._awaited is None or self._waits(self._awaited, now_s):
                return
            if self._ready is not None:
                self._replaced(self._ready.item)
            self._ready, self._awaited = self._awaited, None

    def can_give(self, now_s: float) -> bool:
        """Whether a letter may be taken now; for the mailbox, after `advance`."""
        return self._ready is not None and self.due_s <= now_s

    def next_look_s(self, now_s: float) -> float:
        """When it is worth looking again, by time.monotonic(), if nothing is put; for the mailbox."""
        if self._ready is None and self._awaited is None:
            return float("inf")
        return max(self.due_s, now_s if self._ready is not None else now_s + _LOOK_AGAIN_S)

    def take(self, now_s: float) -> T:
        """The letter that may be taken, which must be there; for the mailbox."""
        letter, self._ready, self._last_taken_s = self._ready, None, now_s
        return letter.item

    def _waits(self, letter: _Letter, now_s: float) -> bool:
        try:
            return now_s - letter.came_s < self._patience_s(letter.item)
        except Exception:  # what is wrong with it shows in its job, which is guarded
            return False


class Mailbox(Generic[T]):
    """Slots for any number of senders and one taker; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: list[Slot[T]] = []  # the one whose turn is next comes first

    def slot(self, min_period_s: Callable[[], float] = lambda: 0.0, patience_s: Callable[[T], float] = lambda item: 0.0,
             replaced: Callable[[T], None] = lambda item: None) -> Slot[T]:
        """A new sender's.

        `min_period_s` is asked for the least time in seconds between two letters that are taken, `patience_s` for how
        long after its arrival a letter may wait for what it lacks now (0 where it lacks nothing); when that is over, it
        is given as it is. `replaced` hears of every letter that a newer one takes the place of. They are called under
        the mailbox's lock: they must be brief and leave the mailbox alone.
        """
        slot: Slot[T] = Slot(self._changed, min_period_s, patience_s, replaced)
        with self._changed:
            self._slots.append(slot)
        return slot

    def remove(self, slot: Slot[T]) -> list[T]:
        """Take a sender's slot away and return what was in it, oldest first."""
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
                slots = self._slots if most else []
                for slot in slots:
                    slot.advance(now_s)
                ready = [slot for slot in slots if slot.can_give(now_s)][:most]
                if ready:
                    self._slots = [slot for slot in self._slots if slot not in ready] + ready
                    return [slot.take(now_s) for slot in ready]
                if now_s >= deadline_s:
                    break
                self._changed.wait(min([deadline_s, *(slot.next_look_s(now_s) for slot in slots)]) - now_s)
        return []

    def wake(self) -> None:
        """Make a waiting `take` look at `interrupted` again."""
        with self._changed:
            self._changed.notify_all()
