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


def test_the_newest_wins(box: Mailbox[int]) -> None:
    replaced: list[int] = []
    slot = box.slot(replaced=replaced.append)
    for i in range(1, 6):
        slot.put(i)
    assert replaced == [1, 2, 3, 4] and box.take(0.0) == [5]
    assert box.take(0.0) == []


def test_take_waits_for_a_letter_and_gives_up_in_time(box: Mailbox[int], slot: Slot[int]) -> None:
    start = time.monotonic()
    assert box.take(0.05) == []
    assert 0.04 < time.monotonic() - start < 10.0
    threading.Timer(0.05, lambda: slot.put(1)).start()
    assert box.take(60.0) == [1]


def test_wake_interrupts_a_waiting_take(box: Mailbox[int]) -> None:
    stop = threading.Event()
    threading.Timer(0.05, lambda: (stop.set(), box.wake())).start()
    start = time.monotonic()
    assert box.take(60.0, stop.is_set) == []
    assert time.monotonic() - start < 30.0


def test_a_letter_survives_an_interruption(box: Mailbox[int], slot: Slot[int]) -> None:
    slot.put(7)
    assert box.take(0.0, lambda: True) == []
    assert box.take(0.0) == [7]


def test_clear_gives_the_letter_back(slot: Slot[int]) -> None:
    slot.put(3)
    assert slot.clear() == [3] and not slot.filled
    assert slot.clear() == []


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
    replaced: list[str] = []
    limited, free = box.slot(lambda: 2.0, replaced=replaced.append), box.slot()
    limited.put("first")
    assert box.take(0.0) == ["first"]
    start = time.monotonic()
    limited.put("second")
    free.put("free")
    assert limited.held and not free.held
    assert box.take(0.0) == ["free"] and box.take(0.0) == []
    limited.put("third")
    assert replaced == ["second"]
    assert box.take(60.0) == ["third"] and 1.5 < time.monotonic() - start < 30.0


def test_a_sender_that_goes_leaves_nothing(box: Mailbox[int], slot: Slot[int]) -> None:
    slot.put(1)
    assert box.remove(slot) == [1]
    slot.put(2)
    assert box.take(0.0) == []


def test_no_letter_is_lost_or_doubled_between_threads(box: Mailbox[tuple[int, int]]) -> None:
    taken: list[tuple[int, int]] = []
    replaced: list[tuple[int, int]] = []
    lacking = {0: lambda letter: 0.0, 1: lambda letter: 0.001, 2: lambda letter: 0.002 * (letter[1] % 2)}
    letters, slots = 2000, [box.slot(patience_s=lacking[n], replaced=replaced.append) for n in range(3)]
    done = threading.Event()

    def taker() -> None:
        while got := box.take(0.05, most=2) or not done.is_set():
            taken.extend(got if isinstance(got, list) else ())

    def sender(number: int) -> None:
        for i in range(letters):
            slots[number].put((number, i))

    threads = [threading.Thread(target=sender, args=(n,)) for n in range(3)]
    receiver = threading.Thread(target=taker)
    for thread in (receiver, *threads):
        thread.start()
    for thread in threads:
        thread.join(60.0)
    done.set()
    receiver.join(30.0)
    for number in range(3):
        mine = [i for n, i in taken if n == number]
        assert mine == sorted(set(mine)) and mine[-1] == letters - 1
        assert len(mine) + sum(n == number for n, _ in replaced) == letters


class Lacking:
    """Letters that lack something until it is said that they do not."""

    def __init__(self, box: Mailbox[str], patience_s: float = 600.0) -> None:
        self.complete: set[str] = set()
        self.replaced: list[str] = []
        self.slot = box.slot(patience_s=lambda letter: 0.0 if letter in self.complete else patience_s,
                             replaced=self.replaced.append)


def test_a_letter_that_lacks_something_holds_up_no_other_sender(box: Mailbox[str]) -> None:
    lacking, other = Lacking(box), box.slot()
    lacking.slot.put("early")
    for number in range(3):
        other.put(f"other {number}")
        assert box.take(60.0) == [f"other {number}"]
    assert box.take(0.0) == [] and lacking.slot.filled
    threading.Timer(0.05, lacking.complete.add, ["early"]).start()
    start = time.monotonic()
    assert box.take(60.0) == ["early"] and time.monotonic() - start < 30.0, "without a word to the mailbox"


def test_patience_ends(box: Mailbox[str]) -> None:
    start = time.monotonic()
    Lacking(box, 0.1).slot.put("never complete")
    assert box.take(60.0) == ["never complete"] and 0.08 < time.monotonic() - start < 30.0


def test_newer_letters_do_not_push_out_the_one_that_is_waited_for(box: Mailbox[str]) -> None:
    """What a letter lacks comes later than the letters that follow it, always."""
    lacking, taken = Lacking(box), []
    for number in range(30):
        lacking.complete.add(str(number - 4))
        lacking.slot.put(str(number))
        taken += box.take(0.0)
    assert taken == ["0", "4", "8", "12", "16", "20", "24"]
    assert len(taken) + len(lacking.replaced) + len(lacking.slot.clear()) == 30


def test_of_complete_letters_the_newest_is_given_even_where_a_newer_one_is_not_complete(box: Mailbox[str]) -> None:
    lacking = Lacking(box)
    for letter in ("a", "b", "c"):
        lacking.slot.put(letter)
    lacking.complete |= {"a", "c"}
    lacking.slot.put("d")
    assert lacking.replaced == ["b", "c"], "what comes while one is waited for gives way to the newest"
    lacking.complete.add("d")
    assert box.take(0.0) == ["d"] and lacking.replaced == ["b", "c", "a"]
    lacking.slot.put("e")
    lacking.complete.add("e")
    lacking.slot.put("f")
    lacking.slot.put("g")
    assert box.take(0.0) == ["e"] and lacking.slot.clear() == ["f", "g"]


def test_a_letter_that_cannot_be_judged_is_given(box: Mailbox[str]) -> None:
    box.slot(patience_s=lambda letter: 1 / 0).put("odd")
    assert box.take(0.0) == ["odd"]
