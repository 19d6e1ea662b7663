"""Who waits for whom: a cycle is found exactly where there is one, and everybody in it names the same to give way."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holdfast.locks.rules import LockTree, Ticket, ask, release
from holdfast.locks.waits import Wait, cycle, in_words, victim, waits

PARTIES = "abcde"
ROOTS = "uvwxyz"


def asked(trees: dict[str, LockTree], party: str, root: str, at: float) -> None:
    tree = trees.get(root) or LockTree("repository", root)
    ticket = Ticket(f"{party}{root}", party, at, root, party=party, expires_at=1000.0)
    trees[root] = ask(tree, [ticket], now=at)


def found_in(trees: dict[str, LockTree]) -> list[Wait]:
    return waits(trees.values(), now=100.0)


def is_stuck(trees: dict[str, LockTree]) -> bool:
    """Whether some party never ends, by the plainest reckoning: let whoever waits for nothing give back, again and
    again."""
    left = dict(trees)
    while True:
        waiting = {each.party for tree in left.values() for each in tree.queue if not each.token}
        there = {each.party for tree in left.values() for each in tree.queue}
        if not there - waiting:
            return bool(there)
        for party in there - waiting:
            for root, tree in left.items():
                left[root] = release(tree, f"{party}{root}", now=100.0)


@given(st.lists(st.tuples(st.sampled_from(PARTIES), st.sampled_from(ROOTS)), max_size=25, unique=True))
def test_a_cycle_is_found_exactly_where_somebody_never_ends(asks: list[tuple[str, str]]) -> None:
    trees: dict[str, LockTree] = {}
    for at, (party, root) in enumerate(asks):
        asked(trees, party, root, float(at))
    found = found_in(trees)
    ways = [way for holder in {wait.waiting.holder for wait in found} if (way := cycle(found, holder))]
    assert bool(ways) == is_stuck(trees)
    for way in ways:
        assert way[-1].behind.party == way[0].waiting.party
        assert all(one.behind.party == next_.waiting.party for one, next_ in pairwise(way))
    gives_way = {victim(way).holder for way in ways if victim(way) == way[0].waiting}
    assert bool(gives_way) == bool(ways), "there is always one that names itself"


@given(st.lists(st.tuples(st.sampled_from(PARTIES), st.sampled_from(ROOTS)), max_size=25, unique=True))
def test_when_those_who_name_themselves_give_way_everybody_ends(asks: list[tuple[str, str]]) -> None:
    trees: dict[str, LockTree] = {}
    for at, (party, root) in enumerate(asks):
        asked(trees, party, root, float(at))
    for _ in range(len(asks)):
        found = found_in(trees)
        ways = {wait.waiting.holder: cycle(found, wait.waiting.holder) for wait in found}
        losers = {way[0].waiting.party for way in ways.values() if way and victim(way) == way[0].waiting}
        for party in losers:
            for root, tree in trees.items():
                trees[root] = release(tree, f"{party}{root}", now=100.0)
    assert not is_stuck(trees)


def test_two_who_lock_in_opposite_order_are_told_the_way() -> None:
    trees: dict[str, LockTree] = {}
    for at, (party, root) in enumerate(["ax", "by", "ay", "bx"]):
        asked(trees, party, root, float(at))
    way = cycle(found_in(trees), "bx")
    assert victim(way).holder == "bx"
    assert in_words(way) == (
        "b (b) waits for repository/x behind a (a), who holds repository/x; "
        "a (a) waits for repository/y behind b (b), who holds repository/y"
    )


def test_a_task_beside_another_of_its_party_is_no_cycle() -> None:
    tree = LockTree("repository", "x")
    for holder in ("one", "two"):
        tree = ask(tree, [Ticket(holder, "a", 0.0, "x", party="visit", expires_at=9.0)], now=0.0)
    assert cycle(waits([tree], now=1.0), "two") == ()


def test_the_lock_of_the_visit_itself_is_one() -> None:
    tree = ask(LockTree("repository", "x"), [Ticket("visit", "a", 0.0, "x", party="visit")], now=0.0)
    tree = ask(tree, [Ticket("block", "a", 0.0, "x", party="visit", expires_at=9.0)], now=0.0)
    assert len(cycle(waits([tree], now=1.0), "block")) == 1
