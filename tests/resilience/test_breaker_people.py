"""A breaker and people: what they force, and what one user is told of another's failures."""

from __future__ import annotations

import pytest

from holdfast.errors import BreakerOpen, InvalidInput
from holdfast.resilience.breaker import BreakerOptions, Kind, Outcome
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from tests.resilience.stage import Boom, Hands, a_breaker, an_open_breaker, tried, works


class TestByPeople:
    async def test_forced_open_beats_time_and_successes(self) -> None:
        clock = Hands()
        breaker, _ = a_breaker(clock)
        early = breaker.acquire()
        breaker.force("forced_open", reason="the key was stolen")
        clock.pass_s(10_000)
        breaker.settle(early, Outcome(Kind.SUCCESS), 1.0)
        with pytest.raises(BreakerOpen, match="until somebody releases it") as refused:
            await breaker.call(works)
        assert (refused.value.state, refused.value.retry_after_s) == ("forced_open", None)
        breaker.release()
        assert await breaker.call(works) == "fine"
        assert breaker.look().counts == (1, 0, 0)

    async def test_a_wait_that_was_running_cannot_leave_forced_open(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock)
        breaker.force("forced_open", reason="maintenance")
        clock.pass_s(31)
        with pytest.raises(BreakerOpen):
            await breaker.call(works)

    async def test_metrics_only_lets_everybody_in_and_reports_once(self) -> None:
        breaker, events = a_breaker(Hands())
        breaker.force("metrics_only", reason="a trial")
        await tried(breaker, *[False] * 30)
        assert breaker.state == "metrics_only"
        assert [event.reason for event in events if event.kind == "would_open"] == [
            "failed: 5 of 5 calls, the threshold is 50%"
        ]

    async def test_disabled_counts_nothing(self) -> None:
        breaker, _ = a_breaker(Hands())
        breaker.force("disabled", reason="a trial")
        await tried(breaker, *[False] * 30)
        assert (breaker.state, breaker.look().counts.calls) == ("disabled", 0)

    async def test_held_back_it_is_probed_only_by_who_holds_it(self) -> None:
        clock = Hands()
        breaker, _ = await an_open_breaker(clock, probes=1)
        breaker.hold("blocked by database")
        clock.pass_s(500)
        with pytest.raises(BreakerOpen, match="blocked by database"):
            await breaker.call(works)
        probe = breaker.acquire_probe()
        assert probe is not None
        breaker.settle(probe, Outcome(Kind.SUCCESS), 0.1)
        assert breaker.state == "closed"

    def test_only_what_can_be_forced_is(self) -> None:
        breaker, _ = a_breaker(Hands())
        with pytest.raises(InvalidInput, match="expected forced_open, disabled, metrics_only"):
            breaker.force("open", reason="")  # type: ignore[arg-type]


class TestTwoUsers:
    async def test_the_text_of_one_users_error_is_not_told_to_the_other(self) -> None:
        """Ana's calls open the breaker that Ben shares: he hears that it is open, why, and when to come again. The
        text of her error is for operators."""
        breaker, _ = a_breaker(Hands())

        async def for_ana() -> None:
            raise Boom("no such account: ana@example.org, token=s3cret")

        for _ in range(5):
            with pytest.raises(Boom):
                await breaker.call(for_ana)
        with pytest.raises(BreakerOpen) as refused:
            await breaker.call(works)
        told = f"{refused.value} {refused.value!r} {refused.value.facts} {refused.value.__cause__}"
        assert "ana" not in told
        assert "s3cret" not in told
        assert refused.value.facts["breaker"] == breaker.name
        assert "failed" in refused.value.facts["reason"]
        assert refused.value.facts["retry_after_s"] > 0
        assert "ana@example.org" in breaker.look().last_error

    async def test_nor_where_what_one_needs_is_not_well(self) -> None:
        """Ben calls something else, that needs what Ana's errors opened."""
        ledger = Dependency(name="ledger", options=BreakerOptions(failures_in_row=2))
        both = Dependencies(ledger, Dependency(name="invoices", needs=("ledger",)))

        async def for_ana() -> None:
            raise ConnectionError("no such account: ana@example.org")

        for _ in range(2):
            with pytest.raises(ConnectionError):
                await both.on("ledger").call(for_ana)
        with pytest.raises(BreakerOpen) as refused:
            await both.on("invoices").call(works)
        assert "ana@" not in f"{refused.value} {refused.value.facts}"
        assert refused.value.facts["blamed"] == "ledger"
