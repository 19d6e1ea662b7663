"""Limits, pure: never more holders than places, never more grants in a window than the rate says, whoever asks when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidDefinition
from holdfast.limits import Ledger, Limit, Place, next_at, room
from holdfast.limits.rules import declared_as, declared_once, enter_line, front, give_back, leave_line, renew, take

START_S = 1_800_000_000.0
WAITS_S = st.one_of(st.just(0.0), st.floats(0.0, 0.3), st.floats(0.0, 30.0))
RATES = st.builds(
    lambda count, period, burst: Limit("llm", rate=f"{count}/{period}s", burst=burst),
    st.integers(1, 20), st.sampled_from([1, 7, 60]), st.integers(1, 5),
)  # fmt: skip


def grant(limit: Limit, ledger: Ledger, now: float, holder: str = "h", expires_at: float | None = None) -> Ledger:
    return take(limit, ledger, Place(holder, "ana", now, expires_at), now=now)


@given(RATES, st.lists(WAITS_S, max_size=120), st.floats(0.0, 200.0))
def test_no_window_has_more_grants_than_burst_and_rate(limit: Limit, waits: list[float], window_s: float) -> None:
    ledger, now, granted = Ledger("llm"), START_S, []
    for wait in waits:
        now += wait
        if room(limit, ledger, now=now):
            ledger = grant(limit, ledger, now)
            granted.append(now)
    most = limit.burst + window_s / limit.interval_s + 1e-3
    for first, began_at in enumerate(granted):
        assert sum(at <= began_at + window_s for at in granted[first:]) <= most


@given(RATES, st.integers(1, 30))
def test_whoever_comes_when_told_is_granted_and_nobody_before(limit: Limit, count: int) -> None:
    """So nobody has to look in between, and the rate is used in full."""
    ledger, now = Ledger("llm"), START_S
    for _ in range(count):
        at = next_at(limit, ledger, now=now)
        assert at is not None
        if at > now:
            assert room(limit, ledger, now=at - 1e-3) == 0
        now = at
        ledger = grant(limit, ledger, now)
    assert now - START_S == pytest.approx(max(0, count - limit.burst) * limit.interval_s, abs=1e-3)


def test_a_rate_without_a_burst_has_no_window_with_one_too_many() -> None:
    limit, ledger, now, granted = Limit("llm", rate="60/1m"), Ledger("llm"), START_S, []
    while now < START_S + 300:
        if room(limit, ledger, now=now):
            ledger = grant(limit, ledger, now)
            granted.append(now)
        now += 0.25
    assert max(sum(at <= other < at + 60 for other in granted) for at in granted) == 60


def test_after_a_pause_the_burst_is_there_and_no_more() -> None:
    limit, ledger = Limit("llm", rate="1/1s", burst=5), Ledger("llm")
    ledger = grant(limit, ledger, START_S)
    assert room(limit, ledger, now=START_S) == 4
    assert room(limit, ledger, now=START_S + 3600) == 5


def test_a_clock_that_was_far_ahead_blocks_nobody_for_long() -> None:
    limit = Limit("llm", rate="1/10s")
    ledger = grant(limit, Ledger("llm"), START_S + 86_400)
    assert next_at(limit, ledger, now=START_S) == START_S
    assert next_at(limit, grant(limit, ledger, START_S), now=START_S) == START_S + 10


ACTS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["take", "lease", "back", "renew", "wait"])), max_size=80)


@given(st.integers(1, 4), ACTS)
def test_there_are_never_more_live_holders_than_places(places: int, acts: list[tuple[int, str]]) -> None:
    limit, ledger, now = Limit("llm", places=places), Ledger("llm"), START_S
    held: dict[str, float | None] = {}
    for who, act in acts:
        holder = f"h{who}"
        held = {name: until for name, until in held.items() if until is None or until > now}
        if act == "wait":
            now += 4.0
        elif act == "back":
            ledger = give_back(ledger, holder)
            held.pop(holder, None)
        elif act == "renew":
            longer = renew(ledger, holder, now + 10, now=now)
            assert (longer is not None) == (holder in held)
            if longer is not None:
                ledger, held[holder] = longer, now + 10
        elif holder not in held:
            has_room = room(limit, ledger, now=now) > 0
            assert has_room == (len(held) < places), "what is free can be had"
            assert has_room == (next_at(limit, ledger, now=now) == now)
            if has_room:
                until = None if act == "take" else now + 10
                ledger, held[holder] = grant(limit, ledger, now, holder, until), until
        assert sorted(place.holder for place in ledger.live(now)) == sorted(
            name for name, until in held.items() if until is None or until > now
        )
        assert len(ledger.live(now)) <= places


def test_a_full_limit_says_when_a_lease_ends_and_nothing_where_none_does() -> None:
    limit = Limit("llm", places=2)
    ledger = grant(limit, Ledger("llm"), START_S, "run", None)
    ledger = grant(limit, ledger, START_S, "block", START_S + 30)
    assert next_at(limit, ledger, now=START_S) == START_S + 30
    assert next_at(limit, grant(limit, give_back(ledger, "block"), START_S, "run2"), now=START_S) is None


def test_a_line_begins_where_it_was_granted_last_and_anew_when_it_was_empty() -> None:
    limit = Limit("llm", places=1)
    ledger = enter_line(Ledger("llm"), limit, now=5.0)
    assert (ledger.waiting, front(ledger, now=9.0)) == (1, 5.0)
    ledger = leave_line(enter_line(ledger, limit, now=6.0), 7.0)
    assert (ledger.waiting, front(ledger, now=9.0)) == (1, 7.0)
    assert front(leave_line(ledger), now=9.0) == 9.0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "expected places= or rate= or both, saw neither"),
        ({"places": 0}, "expected 1 to 1000 places, saw 0"),
        ({"places": 1001}, "expected 1 to 1000 places, saw 1001"),
        ({"places": True}, "expected 1 to 1000 places, saw True"),
        ({"rate": "fast"}, 'expected a rate such as "60/1m"'),
        ({"rate": "60"}, 'expected a rate such as "60/1m"'),
        ({"rate": "1.5/1m"}, 'expected a rate such as "60/1m"'),
        ({"rate": "0/1m"}, "expected at least 1 in a duration above zero"),
        ({"rate": "5/0s"}, "expected at least 1 in a duration above zero"),
        ({"rate": "5/1s", "burst": 0}, "expected a burst of 1 to"),
        ({"places": 2, "burst": 2}, "only beside a rate="),
        ({"places": 2, "per": "tenant"}, 'expected per="user"'),
    ],
)
def test_a_limit_that_means_nothing_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        Limit("llm", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "none"])
def test_a_limit_has_a_name_that_can_be_a_key(name: str) -> None:
    with pytest.raises(InvalidDefinition, match="limit: "):
        Limit(name, places=1)


def test_one_name_is_one_limit() -> None:
    same = [Limit("llm", rate="60/1m"), Limit("llm", rate="60/60s")]
    assert list(declared_once(same)) == ["llm"]
    with pytest.raises(InvalidDefinition, match="expected one declaration, saw two"):
        declared_once([*same, Limit("llm", rate="61/1m")])


@given(RATES)
def test_a_declaration_reads_back(limit: Limit) -> None:
    assert str(declared_as("llm", str(limit))) == str(limit)
    per_user = Limit("runs", places=4, per="user")
    assert declared_as("runs", str(per_user)) == per_user
    assert declared_as("runs", "") is None
