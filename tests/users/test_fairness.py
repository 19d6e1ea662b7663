"""Turns: a flood of one user delays another by his share at most, whoever comes when."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast import ExecutionEngine
from holdfast.store.memory import MemoryStore
from holdfast.users.seats import Seats
from tests.users.conftest import DirectCore, context, until

NOISY, QUIET = 400, 10


async def order_of(jobs: list[str], *, places: int, places_per_user: int) -> list[str]:
    """Whose jobs ran in which order, if all of `jobs` (by user) ask at once and each runs for one turn."""
    seats = Seats(places=places, places_per_user=places_per_user, queue_per_user_max=1000, wait_max_s=60)
    own = {user: seats.own(("acme", user)) for user in jobs}
    begun: list[str] = []
    running: Counter[str] = Counter()

    async def job(user: str) -> None:
        async with seats.seat(own[user], ("acme", user), None):
            begun.append(user)
            running[user] += 1
            assert running[user] <= places_per_user
            assert sum(running.values()) <= places
            await asyncio.sleep(0)
            running[user] -= 1

    await asyncio.gather(*map(job, jobs))
    return begun


@pytest.mark.parametrize("quiet_users", [1, 10])
async def test_400_noisy_jobs_of_one_user_delay_anothers_by_his_share_at_most(quiet_users: int) -> None:
    store, begun, go = MemoryStore(), list[str](), asyncio.Event()

    async def job(ctx: Any, value: Any, emit: Any) -> None:
        await go.wait()
        begun.append(ctx.user)
        await asyncio.sleep(0)

    async with ExecutionEngine(store, DirectCore(), places=4, places_per_user=3) as engine:
        engine.registry.declare("job", lambda ctx: job)
        noisy = [asyncio.ensure_future(engine.run(context("noisy"), "job")) for _ in range(NOISY)]
        await until(lambda: engine.statistics().running == 3, "the flood has all of its places")
        quiet = [
            asyncio.ensure_future(engine.run(context(f"quiet{n}"), "job"))
            for n in range(quiet_users)
            for _ in range(QUIET)
        ]
        await until(lambda: engine.statistics().waiting == NOISY - 3 + len(quiet) - 1, "all stand in line")
        go.set()
        await asyncio.gather(*quiet)
        before_the_last = max(n for n, user in enumerate(begun) if user.startswith("quiet")) + 1
        assert not all(task.done() for task in noisy)
        await asyncio.gather(*noisy)
    # In turns the flood gets one for each one of every other; it had three under way when they came.
    assert begun[:before_the_last].count("noisy") <= QUIET + 3 + 1
    await store.close()


class TestShares:
    @settings(max_examples=60)
    @given(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=60),
        st.integers(min_value=1, max_value=6),
        st.integers(min_value=1, max_value=4),
    )
    def test_nobody_waits_for_more_than_one_job_of_each_other_user_for_each_of_his_own(
        self, jobs: list[str], places: int, per_user: int
    ) -> None:
        begun = asyncio.run(order_of(jobs, places=places, places_per_user=per_user))
        assert sorted(begun) == sorted(jobs), "everybody ran, once"
        for user in set(jobs):
            own = [n for n, who in enumerate(begun) if who == user]
            for number, at in enumerate(own, 1):
                for other in set(jobs) - {user}:
                    ahead = begun[:at].count(other)
                    # His number of turns, and what could be under way or in line before his first.
                    assert ahead <= number + 2 * per_user + places, (user, number, other, begun)

    @settings(max_examples=30)
    @given(st.integers(min_value=1, max_value=5), st.integers(min_value=1, max_value=3))
    def test_places_are_not_left_empty_while_somebody_may_have_one(self, places: int, per_user: int) -> None:
        """With one user alone, who has work enough, as many run as he may have."""

        async def most() -> int:
            seats = Seats(places=places, places_per_user=per_user, queue_per_user_max=100, wait_max_s=60)
            own, running, peak = seats.own(("acme", "ana")), 0, 0

            async def job() -> None:
                nonlocal running, peak
                async with seats.seat(own, ("acme", "ana"), None):
                    running += 1
                    peak = max(peak, running)
                    await asyncio.sleep(0)
                    running -= 1

            await asyncio.gather(*(job() for _ in range(20)))
            assert seats.all.look().taken == own.look().taken == 0
            return peak

        assert asyncio.run(most()) == min(places, per_user)
