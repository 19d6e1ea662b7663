"""Quotas: no window has more than it may, room comes back when it is said to, and nothing of that depends on luck."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidInput, UserQuota
from holdfast.codec import decode, encode
from holdfast.users.quota import SLOTS, Measure, Usage, current, in_words, left, refuse, spend, total

WINDOW_S = 60.0
TOKENS: Measure = "tokens"

steps = st.lists(
    st.tuples(st.floats(min_value=0, max_value=WINDOW_S, width=32), st.integers(min_value=1, max_value=40)), max_size=60
)
"""Wishes: how long after the one before, and how much."""


def admitted(wishes: Sequence[tuple[float, int]], quota: UserQuota, start_s: float) -> list[tuple[float, int]]:
    """Which of them are granted, as (when, how much)."""
    usage, now, granted = Usage(), start_s, []
    for after_s, amount in wishes:
        now += after_s
        if refuse(usage, quota, {TOKENS: amount}, now=now) is None:
            usage = decode(encode(spend(usage, quota, {TOKENS: amount}, now=now)), Usage)  # as the store keeps it
            granted.append((now, amount))
        assert sum(map(len, usage.used.values())) <= SLOTS + 1, "the ledger has a bound"
    return granted


class TestWindows:
    @given(steps, st.integers(min_value=1, max_value=100), st.floats(min_value=0, max_value=2e9))
    def test_no_window_has_more_than_the_quota_wherever_it_begins(
        self, wishes: list[tuple[float, int]], most: int, start_s: float
    ) -> None:
        granted = admitted(wishes, UserQuota(window_s=WINDOW_S, tokens=most), start_s)
        for begins, _ in granted:
            assert sum(amount for at, amount in granted if begins <= at < begins + WINDOW_S) <= most

    @given(steps, st.integers(min_value=1, max_value=100))
    def test_what_fits_into_an_unused_quota_is_granted(self, wishes: list[tuple[float, int]], most: int) -> None:
        granted = admitted(wishes, UserQuota(window_s=WINDOW_S, tokens=most), 1e9)
        now = 1e9 + sum(after_s for after_s, _ in wishes) + WINDOW_S * (1 + 1 / SLOTS)
        usage = Usage()
        for at, amount in granted:
            usage = spend(usage, UserQuota(window_s=WINDOW_S, tokens=most), {TOKENS: amount}, now=at)
        assert left(usage, UserQuota(window_s=WINDOW_S, tokens=most), TOKENS, now=now) == most

    @given(steps, st.integers(min_value=1, max_value=40), st.integers(min_value=1, max_value=100))
    def test_there_is_room_when_it_was_said_and_not_before(
        self, wishes: list[tuple[float, int]], want: int, most: int
    ) -> None:
        quota, usage, now = UserQuota(window_s=WINDOW_S, tokens=most), Usage(), 1e9
        for after_s, amount in wishes:
            now += after_s
            usage = spend(usage, quota, {TOKENS: amount}, now=now)
        refusal = refuse(usage, quota, {TOKENS: want}, now=now)
        if refusal is None:
            assert total(current(usage, quota, now=now), TOKENS) + want <= most
        elif refusal.retry_after_s is None:
            assert want > most
        else:
            at = now + refusal.retry_after_s
            assert refuse(usage, quota, {TOKENS: want}, now=at + 0.001) is None
            if refusal.retry_after_s > 0.01:
                assert refuse(usage, quota, {TOKENS: want}, now=at - 0.001) is not None

    @given(steps, st.floats(min_value=1, max_value=10_000))
    def test_a_quota_of_another_window_forgets_nothing_too_early(
        self, wishes: list[tuple[float, int]], window_s: float
    ) -> None:
        """An operator changes the window: what was used within the new one still counts."""
        old, new, now = UserQuota(window_s=WINDOW_S, tokens=50), UserQuota(window_s=window_s, tokens=50), 1e9
        usage, spent = Usage(), []
        for after_s, amount in wishes:
            now += after_s
            usage = spend(usage, old, {TOKENS: amount}, now=now)
            spent.append((now, amount))
        within = min(WINDOW_S, window_s)
        assert total(current(usage, new, now=now), TOKENS) >= sum(n for at, n in spent if at > now - within)

    def test_a_clock_that_was_set_back_gives_nothing_away(self) -> None:
        quota = UserQuota(window_s=WINDOW_S, tokens=10)
        usage = spend(Usage(), quota, {TOKENS: 10}, now=1000.0)
        assert refuse(usage, quota, {TOKENS: 1}, now=900.0) is not None
        assert total(spend(usage, quota, {TOKENS: 5}, now=900.0), TOKENS) == 15


class TestWords:
    def test_what_is_used_up_refuses_even_who_wants_nothing_of_it(self) -> None:
        quota = UserQuota(window_s=3600, starts=5, tokens=100)
        usage = spend(Usage(), quota, {TOKENS: 170}, now=1e9)
        refusal = refuse(usage, quota, {"starts": 1}, now=1e9)
        assert refusal is not None
        assert in_words(refusal, quota).startswith("170 of 100 tokens in 1h are used; there is room again in 1h")

    def test_a_wish_above_the_quota_is_told_that_it_never_fits(self) -> None:
        quota = UserQuota(bytes=10)
        refusal = refuse(Usage(), quota, {"bytes": 11}, now=1e9)
        assert refusal is not None
        assert "never" in in_words(refusal, quota)

    def test_unbounded_measures_are_not_kept(self) -> None:
        quota = UserQuota(starts=5)
        assert spend(Usage(), quota, {TOKENS: 7, "starts": 1}, now=1e9).used.keys() == {"starts"}

    @pytest.mark.parametrize(
        "wrong", [{"window_s": 0}, {"window_s": float("nan")}, {"starts": -1}, {"money_usd": float("inf")}], ids=str
    )
    def test_quotas_without_meaning_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(InvalidInput):
            UserQuota(**wrong)  # type: ignore[arg-type]

    def test_usage_is_stored_as_plain_json(self) -> None:
        usage = spend(Usage(), UserQuota(money_usd=1.0), {"money_usd": 0.25}, now=7200.0)
        assert msgspec.json.decode(encode(usage)) == {"slot_s": 60.0, "used": {"money_usd": [[120, 0.25]]}}
