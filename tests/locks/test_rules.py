"""Who holds and who waits, drawn at random: nothing conflicts, nobody is overtaken, tokens only grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from holdfast import InvalidInput
from holdfast.locks.rules import (
    LockRequest,
    LockTree,
    Mode,
    Ticket,
    ask,
    blockers,
    conflict,
    is_up_to_others,
    next_token,
    release,
    requests_of,
    standing,
)
from holdfast.locks.view import views_of

NAMES = ["company", "company/cart", "company/cart/api", "company/search", "company/car"]
HOLDERS = ["a", "b", "c", "d"]


def ticket(holder: str, name: str, mode: Mode = "exclusive", *, until: float | None = None, at: float = 0.0) -> Ticket:
    return Ticket(holder, holder, at, name, mode=mode, party=holder, expires_at=until)


def queue_of(*tickets: Ticket) -> LockTree:
    """A tree in which these were asked for one after the other."""
    tree = LockTree("repository", "company")
    for each in tickets:
        tree = ask(tree, [each], now=0.0)
    return tree


def holding(tree: LockTree) -> list[str]:
    return [each.holder for each in tree.queue if each.token]


class Line(RuleBasedStateMachine):
    """One tree under random asks, renewals, releases and time."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = LockTree("repository", "company")
        self.now = 0.0
        self.seen: dict[int, Ticket] = {}

    @rule(
        holder=st.sampled_from(HOLDERS),
        names=st.sets(st.sampled_from(NAMES), min_size=1, max_size=2),
        mode=st.sampled_from(["exclusive", "shared"]),
        ttl_s=st.one_of(st.none(), st.integers(1, 5)),
        anew=st.booleans(),
    )
    def asks(self, holder: str, names: set[str], mode: Mode, ttl_s: int | None, anew: bool) -> None:
        until = None if ttl_s is None else self.now + ttl_s
        before = self.tree
        places = {each.holder: None for each in before.queue if not each.is_lapsed(self.now)}
        tickets = [ticket(holder, name, mode, until=until, at=self.now) for name in sorted(names)]
        self.tree = ask(before, tickets, now=self.now, anew=anew)
        others = [each for each in places if each != holder]
        kept = [each for each in dict.fromkeys(t.holder for t in self.tree.queue) if each in others]
        assert kept == [each for each in others if each in kept], "places are kept"
        if not anew:
            again = ask(self.tree, tickets, now=self.now)
            assert again == self.tree, "asking again changes nothing"
        self.check(before)

    @rule(holder=st.sampled_from(HOLDERS))
    def releases(self, holder: str) -> None:
        before = self.tree
        self.tree = release(before, holder, now=self.now)
        assert holder not in [each.holder for each in self.tree.queue]
        self.check(before)

    @rule(seconds=st.integers(1, 3))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    def check(self, before: LockTree) -> None:
        """After a decision: nobody lapsed is left, and tokens are new or as they were."""
        assert not any(each.is_lapsed(self.now) and each not in before.queue for each in self.tree.queue)
        assert self.tree.tokens >= before.tokens
        for each in self.tree.queue:
            if each.token > before.tokens:
                assert each.token not in self.seen, "a token is granted once"
                self.seen[each.token] = each
            elif each.token:
                assert self.seen[each.token].holder == each.holder

    @invariant()
    def nothing_that_conflicts_is_held_at_once(self) -> None:
        held = [each for each in self.tree.queue if each.token]
        assert not any(conflict(one, other) for one in held for other in held)

    @invariant()
    def who_waits_waits_for_somebody_and_is_overtaken_by_nobody(self) -> None:
        for place, each in enumerate(self.tree.queue):
            ahead = [other for other in self.tree.queue[:place] if conflict(other, each)]
            assert bool(each.token) == (not ahead)
            request = LockRequest("repository", each.name, each.mode)
            where = standing([self.tree], [request], each.holder, now=self.now)
            if each.is_lapsed(self.now) or (not each.token and not blockers(self.tree, each, now=self.now)):
                assert where.must_ask
            else:
                assert bool(where.tokens) == bool(each.token)

    @invariant()
    def where_it_is_not_up_to_others_they_can_grant_nothing(self) -> None:
        if any(each.is_lapsed(self.now) for each in self.tree.queue):
            return
        ours, after = HOLDERS[:2], self.tree
        for other in HOLDERS[2:]:
            after = release(after, other, now=self.now)
        waiting = {(each.holder, each.name) for each in self.tree.queue if each.holder in ours and not each.token}
        granted = [each for each in after.queue if (each.holder, each.name) in waiting and each.token]
        assert not granted or is_up_to_others(self.tree, ours)

    @invariant()
    def operators_see_everybody_who_is_there(self) -> None:
        views = views_of(self.tree, now=self.now)
        shown = sum(len(view.holders) + len(view.waiters) for view in views)
        assert shown == sum(not each.is_lapsed(self.now) for each in self.tree.queue)


TestLine = Line.TestCase


def test_a_name_covers_what_is_beneath_it_both_ways() -> None:
    assert holding(queue_of(ticket("a", "company"), ticket("b", "company/cart"))) == ["a"]
    assert holding(queue_of(ticket("a", "company/cart"), ticket("b", "company"))) == ["a"]
    assert holding(queue_of(ticket("a", "company/cart"), ticket("b", "company/car"))) == ["a", "b"]


def test_shared_ones_hold_together_and_do_not_overtake_an_exclusive_one() -> None:
    tree = queue_of(
        ticket("a", "company", "shared"),
        ticket("b", "company/cart", "shared"),
        ticket("w", "company/cart"),
        ticket("late", "company/cart", "shared"),
        ticket("beside", "company/search", "shared"),
    )
    assert holding(tree) == ["a", "b", "beside"]
    tree = release(release(tree, "a", now=0.0), "b", now=0.0)
    assert holding(tree) == ["w", "beside"]
    assert holding(release(tree, "w", now=0.0)) == ["late", "beside"]


def test_tokens_of_one_commit_differ() -> None:
    tree = queue_of(ticket("w", "company"), ticket("a", "company", "shared"), ticket("b", "company/cart", "shared"))
    tree = release(tree, "w", now=0.0)
    assert [each.token for each in tree.queue] == [2, 3]


@pytest.mark.parametrize(
    ("last", "now", "token"), [(0, 0.0, 1), (7, 0.0, 8), (7, 2.5, 2_500_000), (10**16, 2.5, 10**16 + 1)]
)
def test_a_token_is_higher_than_the_last_and_no_less_than_the_time(last: int, now: float, token: int) -> None:
    assert next_token(last, now) == token


def test_a_tree_that_was_set_back_grants_no_token_of_before() -> None:
    tree = LockTree("repository", "company")
    granted = [ask(tree, [ticket("a", "company")], now=now).tokens for now in (1_800_000_000.0, 1_800_000_001.0)]
    assert granted[0] < granted[1] < 2**53, "and JSON carries them"


def test_a_former_self_gives_nothing_back_that_is_not_its_own() -> None:
    tree = ask(queue_of(ticket("a", "company")), [ticket("a", "company")], now=0.0, anew=True)
    assert [each.token for each in tree.queue] == [2]
    assert release(tree, "a", now=0.0, tokens=[1]) == tree
    assert release(tree, "a", now=0.0, tokens=[2]).queue == ()


def test_a_dead_waiter_is_dropped_and_the_next_one_moves_up() -> None:
    tree = queue_of(ticket("a", "company"), ticket("dead", "company", until=5.0), ticket("c", "company", until=90.0))
    assert holding(release(tree, "a", now=4.0)) == ["dead"]
    assert holding(release(tree, "a", now=5.0)) == ["c"]


def test_another_mode_begins_behind_everybody() -> None:
    tree = queue_of(ticket("a", "company", "shared"), ticket("b", "company", "shared"))
    tree = ask(tree, [ticket("a", "company")], now=0.0)
    assert holding(tree) == ["b"]


@given(st.lists(st.tuples(st.sampled_from(["r", "c"]), st.sampled_from(NAMES)), min_size=1, max_size=6))
def test_what_is_asked_for_comes_sorted_and_once(wanted: list[tuple[str, str]]) -> None:
    requests = requests_of(wanted)
    assert list(requests) == sorted(set(requests))
    assert {(each.kind, each.name) for each in requests} == set(wanted)
    assert requests_of(list(reversed(wanted))) == requests


def test_exclusive_wins_where_one_lock_is_asked_for_in_both_modes() -> None:
    both = [("repository", "r", "shared"), ("repository", "r")]
    assert requests_of(both) == requests_of(both[::-1]) == (LockRequest("repository", "r"),)


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        ("company/service", "lock: expected \\(kind, name\\) such as .* saw 'company/service'"),
        (["company/service"], "lock: expected \\(kind, name\\)"),
        (("", "company/service"), "lock kind: expected a real id"),
        (("repository", "company//service"), 'segments joined by single "/"'),
        (("repository", "/company"), 'segments joined by single "/"'),
        (("repository", "r", "write"), "expected the mode exclusive or shared, saw 'write'"),
        ([], "expected 1 to 100 locks"),
        ([("repository", str(number)) for number in range(101)], "expected 1 to 100 locks .* saw 101"),
        (None, "lock: expected"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_with_the_mend(given_: object, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        requests_of(given_)


def test_a_lapsed_ticket_is_no_ones_lock() -> None:
    tree = queue_of(ticket("a", "company", until=5.0))
    assert standing([tree], [LockRequest("repository", "company")], "a", now=4.9).tokens == (1,)
    assert standing([tree], [LockRequest("repository", "company")], "a", now=5.0).must_ask
    renewed = ask(tree, [replace(tree.queue[0], expires_at=9.0)], now=6.0)
    assert [each.token for each in renewed.queue] == [1], "nobody took it meanwhile"
