"""Ids that users see: nobody has one twice, and none tells of another."""

from __future__ import annotations

import itertools
import re
import threading

import pytest

from holdfast.clock import SystemClock, seeded_randomness, system_randomness
from holdfast.ids import DRAWN_AT_ONCE, ChangeIds, uuid7

PROCESS = uuid7(SystemClock(), seeded_randomness(1))


def test_ids_of_changes_are_the_process_and_chance() -> None:
    ids = ChangeIds(PROCESS, system_randomness())
    made = [ids.new() for _ in range(20 * DRAWN_AT_ONCE)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(rf"{PROCESS}:[0-9a-f]{{20}}", each) for each in made)


def test_ids_of_changes_count_nothing() -> None:
    """How much others did between two of mine shows neither in their order nor in their distance."""
    ids = ChangeIds(PROCESS, system_randomness())
    numbers = [int(ids.new().rpartition(":")[2], 16) for _ in range(1000)]
    rising = sum(before < after for before, after in itertools.pairwise(numbers))
    assert 300 < rising < 700
    assert min(abs(before - after) for before, after in itertools.pairwise(numbers)) > 2**40


def test_ids_of_changes_repeat_with_their_seed_and_differ_by_their_process() -> None:
    def made(process: str, seed: int) -> list[str]:
        ids = ChangeIds(process, seeded_randomness(seed))
        return [ids.new() for _ in range(3 * DRAWN_AT_ONCE)]

    assert made("p", 7) == made("p", 7)
    assert not set(made("p", 7)) & set(made("p", 8))
    assert not set(made("p", 7)) & set(made("q", 7))


@pytest.mark.parametrize("bits", [1, 8, 53, 74, 128, 129, 1000])
def test_chance_of_the_system_fills_as_many_bits_as_were_asked_for(bits: int) -> None:
    chance = system_randomness()
    drawn = [chance.getrandbits(bits) for _ in range(400)]
    assert all(0 <= each < 1 << bits for each in drawn)
    for bit in range(bits):
        assert 100 < sum(each >> bit & 1 for each in drawn) < 300, f"bit {bit}"


def test_chance_of_the_system_lies_between_zero_and_one() -> None:
    chance = system_randomness()
    drawn = [chance.random() for _ in range(1000)]
    assert all(0 <= each < 1 for each in drawn)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6


def test_threads_that_share_chance_never_draw_the_same() -> None:
    chance, drawn, together = system_randomness(), list[int](), threading.Barrier(4)

    def draw() -> None:
        together.wait(10)
        drawn.extend([chance.getrandbits(128) for _ in range(5000)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(set(drawn)) == 20_000
