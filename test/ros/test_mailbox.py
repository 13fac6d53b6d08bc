"""Mailboxes: the newest letter wins, every letter is accounted for, and senders take turns."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from kyvo_ros.ros.mailbox import Mailbox, Slot


@pytest.fixture
def box() -> Mailbox[int]:
    return Mailbox()


@pytest.fixture
def slot(box: Mailbox[int]) -> Slot[int]:
    return box.slot()


def test_the_newest_wins(box: Mailbox[int], slot: Slot[int]) -> None:
    assert [slot.put(i) for i in range(1, 6)] == [None, 1, 2, 3, 4]
    assert box.take(0.0) == [5]
    assert box.take(0.0) == []


def test_take_waits_for_a_letter_and_gives_up_in_time(box: Mailbox[int], slot: Slot[int]) -> None:
    start = time.monotonic()
    assert box.take(0.05) == []
    assert 0.04 < time.monotonic() - start < 1.0
    threading.Timer(0.05, lambda: slot.put(1)).start()
    assert box.take(5.0) == [1]


def test_wake_interrupts_a_waiting_take(box: Mailbox[int]) -> None:
    stop = threading.Event()
    threading.Timer(0.05, lambda: (stop.set(), box.wake())).start()
    start = time.monotonic()
    assert box.take(30.0, stop.is_set) == []
    assert time.monotonic() - start < 5.0


def test_a_letter_survives_an_interruption(box: Mailbox[int], slot: Slot[int]) -> None:
    slot.put(7)
    assert box.take(0.0, lambda: True) == []
    assert box.take(0.0) == [7]


def test_clear_gives_the_letter_back(slot: Slot[int]) -> None:
    slot.put(3)
    assert slot.clear() == 3
    assert slot.clear() is None


def test_none_cannot_be_stored(slot: Slot[int]) -> None:
    with pytest.raises(ValueError, match="empty slot"):
        slot.put(None)


def test_senders_take_turns_however_often_they_write(box: Mailbox[str]) -> None:
    eager, slow, late = box.slot(), box.slot(), box.slot()
    taken = []
    for number in range(9):
        eager.put("eager")
        slow.put("slow")
        if number >= 3:
            late.put("late")
        taken += box.take(0.0)
    assert taken[:3] == ["eager", "slow", "eager"]
    assert Counter(taken[3:]) == {"eager": 2, "slow": 2, "late": 2}


def test_several_senders_are_served_at_once_each_with_one_letter(box: Mailbox[int]) -> None:
    slots = [box.slot() for _ in range(4)]
    for number, slot in enumerate(slots):
        slot.put(number)
        slot.put(10 + number)
    assert box.take(0.0, most=3) == [10, 11, 12]
    slots[0].put(20)
    assert box.take(0.0, most=3) == [13, 20], "who has waited longest comes first"


def test_the_least_period_holds_one_sender_and_no_other(box: Mailbox[str]) -> None:
    limited, free = box.slot(lambda: 0.2), box.slot()
    limited.put("first")
    assert box.take(0.0) == ["first"]
    start = time.monotonic()
    limited.put("second")
    free.put("free")
    assert limited.held and not free.held
    assert box.take(0.0) == ["free"] and box.take(0.0) == []
    assert limited.put("third") == "second"
    assert box.take(5.0) == ["third"] and 0.15 < time.monotonic() - start < 2.0


def test_a_sender_that_goes_leaves_nothing(box: Mailbox[int], slot: Slot[int]) -> None:
    slot.put(1)
    assert box.remove(slot) == 1
    slot.put(2)
    assert box.take(0.0) == []


def test_no_letter_is_lost_or_doubled_between_threads(box: Mailbox[tuple[int, int]]) -> None:
    letters, slots = 2000, [box.slot() for _ in range(3)]
    taken: list[tuple[int, int]] = []
    replaced: Counter[int] = Counter()
    done = threading.Event()

    def taker() -> None:
        while got := box.take(0.05, most=2) or not done.is_set():
            taken.extend(got if isinstance(got, list) else ())

    def sender(number: int) -> None:
        for i in range(letters):
            replaced[number] += slots[number].put((number, i)) is not None

    threads = [threading.Thread(target=sender, args=(n,)) for n in range(3)]
    receiver = threading.Thread(target=taker)
    for thread in (receiver, *threads):
        thread.start()
    for thread in threads:
        thread.join(20.0)
    done.set()
    receiver.join(10.0)
    for number in range(3):
        mine = [i for n, i in taken if n == number]
        assert mine == sorted(set(mine)) and mine[-1] == letters - 1
        assert len(mine) + replaced[number] == letters
