"""The queue in front of the writer: fair, ordered, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Unavailable
from holdfast.store.contract.records import Change
from holdfast.store.writing import intake
from holdfast.store.writing.intake import Entry, Intake
from holdfast.testing.conformance.equivalence import changes
from holdfast.testing.conformance.samples import change, key, put, removal


def queue(waiting: Intake[int], sender: str, each: Change, number: int, *, size: int = 0) -> None:
    waiting.put(("acme", sender), Entry(each, number, payload_bytes=size))


def numbers(batch: list[Entry[int]]) -> list[int]:
    return [entry.waiter for entry in batch]


def test_lanes_take_turns() -> None:
    """Nobody's thousand changes keep another's one waiting."""
    waiting: Intake[int] = Intake()
    for number in range(1000):
        queue(waiting, "busy", change(put(f"a{number}")), number)
    queue(waiting, "quiet", change(put(key("b", user="bob"))), 5000)
    assert numbers(waiting.take())[:3] == [0, 5000, 1]
    assert len(waiting) == 1001 - intake.BATCH_CHANGES_MAX


def test_who_shares_a_key_with_an_earlier_one_waits_for_it() -> None:
    waiting: Intake[int] = Intake()
    queue(waiting, "busy", change(put("a")), 1)
    queue(waiting, "busy", change(put("shared")), 2)
    queue(waiting, "other", change(put("shared")), 3)
    assert numbers(waiting.take()) == [1, 2, 3]


def test_a_removal_keeps_its_place_among_what_it_may_remove() -> None:
    waiting: Intake[int] = Intake()
    queue(waiting, "ana", change(put("x")), 1)
    queue(waiting, "ana", change(put(key("v/1", kind="memo"))), 2)
    queue(waiting, "system", change(removal("v/")), 3)
    queue(waiting, "third", change(put(key("v/1", kind="memo"))), 4)
    assert numbers(waiting.take()) == [1, 2, 3, 4]


@given(sent=st.lists(st.tuples(st.sampled_from("abc"), changes), max_size=30), most=st.integers(1, 5))
def test_shared_keys_are_never_overtaken(sent: list[tuple[str, Change]], most: int) -> None:
    """Whatever the lanes and the batches, two changes with a common key come out as they went in."""
    waiting: Intake[int] = Intake(batch_changes_max=most)
    for number, (sender, each) in enumerate(sent):
        queue(waiting, sender, each, number)
    order: list[int] = []
    while batch := waiting.take():
        assert len(batch) <= most
        order += numbers(batch)
    assert sorted(order) == list(range(len(sent)))
    place = {number: at for at, number in enumerate(order)}
    for late in range(len(sent)):
        for early in range(late):
            keys = [Entry(sent[number][1], 0, payload_bytes=0).keys for number in (early, late)]
            if set(keys[0]) & set(keys[1]) or sent[early][0] == sent[late][0]:
                assert place[early] < place[late]
    assert (len(waiting), repr(waiting)) == (0, "Intake(changes=0, rows=0, bytes=0, senders=0)")


def test_full_queue_refuses_and_takes_again_when_it_is_emptier() -> None:
    waiting: Intake[int] = Intake(rows_max=4, bytes_max=100)
    queue(waiting, "ana", change(put("a")), 1, size=60)
    with pytest.raises(Unavailable, match="queue is full"):
        queue(waiting, "ana", change(put("b")), 2, size=60)
    waiting.take()
    queue(waiting, "ana", change(put("b")), 2, size=600)  # bigger than the bound, but alone
    assert numbers(waiting.take()) == [2]


def test_batches_are_bounded_in_bytes() -> None:
    waiting: Intake[int] = Intake()
    for number in range(10):
        queue(waiting, "ana", change(put(f"a{number}")), number, size=intake.BATCH_BYTES_MAX // 4)
    assert numbers(waiting.take()) == [0, 1, 2, 3]
    assert numbers(waiting.take_all()) == [4, 5, 6, 7, 8, 9]
    assert len(waiting) == 0
