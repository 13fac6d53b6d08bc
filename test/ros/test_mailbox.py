"""The one-slot mailbox: the newest letter wins, and every letter is accounted for."""

from __future__ import annotations

import threading
import time

import pytest

from kyvo_ros.ros.mailbox import Mailbox


def test_the_newest_wins_and_counts_add_up() -> None:
    box: Mailbox[int] = Mailbox()
    assert [box.put(i) for i in range(1, 6)] == [None, 1, 2, 3, 4]
    assert box.take(0.0) == 5
    assert box.take(0.0) is None
    assert box.counts() == {"received": 5, "taken": 1, "replaced": 4}


def test_take_waits_for_a_letter_and_gives_up_in_time() -> None:
    box: Mailbox[str] = Mailbox()
    start = time.monotonic()
    assert box.take(0.05) is None
    assert 0.04 < time.monotonic() - start < 1.0
    threading.Timer(0.05, lambda: box.put("letter")).start()
    assert box.take(5.0) == "letter"


def test_wake_interrupts_a_waiting_take() -> None:
    box: Mailbox[int] = Mailbox()
    stop = threading.Event()
    threading.Timer(0.05, lambda: (stop.set(), box.wake())).start()
    start = time.monotonic()
    assert box.take(30.0, stop.is_set) is None
    assert time.monotonic() - start < 5.0


def test_a_letter_survives_an_interruption() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(7)
    assert box.take(0.0, lambda: True) is None
    assert box.take(0.0) == 7


def test_clear_gives_the_letter_back() -> None:
    box: Mailbox[int] = Mailbox()
    box.put(3)
    assert box.clear() == 3
    assert box.clear() is None


def test_none_cannot_be_stored() -> None:
    with pytest.raises(ValueError, match="empty slot"):
        Mailbox().put(None)


def test_no_letter_is_lost_or_doubled_between_threads() -> None:
    box: Mailbox[int] = Mailbox()
    taken: list[int] = []
    done = threading.Event()

    def taker() -> None:
        while not (done.is_set() and box.counts()["received"] == 2000 and not taken_all()):
            letter = box.take(0.01)
            if letter is not None:
                taken.append(letter)

    def taken_all() -> bool:
        counts = box.counts()
        return counts["received"] > counts["taken"] + counts["replaced"]

    thread = threading.Thread(target=taker)
    thread.start()
    for i in range(1, 2001):
        box.put(i)
    done.set()
    thread.join(10.0)
    counts = box.counts()
    assert taken == sorted(set(taken)) and taken[-1] == 2000
    assert counts["taken"] + counts["replaced"] == counts["received"] == 2000
