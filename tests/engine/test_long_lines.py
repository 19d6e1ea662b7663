"""Many runs in line for one lock: what it costs that the line moves, or its owner dies, grows with the line alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from holdfast import Engine, RunContext, Workflow
from holdfast.locks import LOCK
from holdfast.store.contract.records import Change, Claim, Commit, Key, Record, Scope
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing import Gate, Lab, VirtualClock
from holdfast.workflow.model.run import RUN
from holdfast.workflow.recovery.recovery import CLAIM_FIRST
from tests.engine.test_taking_over import die

LINE = 40
WITHIN_S = 30.0


class CountingStore(SqliteStore):
    """Counts reads, and commits that write locks; keeps what claims from the dead asked for. `is_slow`: no commit of a
    run is answered before it is set."""

    def count(self) -> None:
        self.calls: Counter[str] = Counter()
        self.claims: list[int] = []
        self.is_quick = asyncio.Event()
        self.is_quick.set()

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        self.calls["read"] += 1
        return await super().read(scope, keys)

    async def commit(self, scope: Scope, change: Change) -> Commit:
        kinds = {write.key.kind for write in change.writes}
        self.calls["locks"] += LOCK in kinds
        if RUN in kinds:
            await self.is_quick.wait()
        return await super().commit(scope, change)

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        if claim.from_owners not in [(), ("",)]:
            self.claims.append(claim.limit)
        return await super().claim(scope, claim)


def repair(gates: list[Gate | asyncio.Event], tokens: list[int]) -> Workflow:
    workflow = Workflow("repair", data=dict)

    @workflow.state("work", start=True, to="end", lock=lambda data: ("repository", "company/cart"))
    async def work(ctx: RunContext) -> None:
        await gates[-1].wait()
        tokens.append(ctx.token)

    workflow.final("end")
    return workflow


async def line_of_the_dead(store: CountingStore, clock: VirtualClock, workflow: Workflow) -> Engine:
    """Its process died while one worked and the others waited."""
    engine = await Engine(store, workflow, clock=clock).__aenter__()
    for number in range(LINE):
        await engine.start("repair", id=f"R-{number}", user="tester")
    async with asyncio.timeout(WITHIN_S):
        while len(engine.inside.crew.waiting_for_locks()) < LINE - 1:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
    await die(engine)
    return engine


async def pass_time(clock: VirtualClock) -> None:
    await asyncio.sleep(0.01)
    clock.advance_to(clock.time_s() + 0.1)


async def test_those_in_line_cost_nothing_before_their_turn(tmp_path: Path) -> None:
    """A commit for each lock that changes hands, and a few reads: not one for each who waits, which is LINE / 2 times
    as many."""
    clock, tokens = VirtualClock(), list[int]()
    store = CountingStore(tmp_path / "runs.db", clock=clock)
    store.count()
    gates: list[Gate | asyncio.Event] = [asyncio.Event()]
    old = await line_of_the_dead(store, clock, repair(gates, tokens))
    lab = Lab(repair(gates, tokens), store=store, clock=clock)
    gates.append(gate := lab.gate())
    try:
        async with lab:
            store.calls.clear()
            await lab.skip("6s")
            crew = lab.engine.inside.crew
            assert len(crew.waiting_for_locks()) == LINE - 1
            assert store.calls["locks"] <= 2, "only the one whose turn it is asks anew"
            assert store.calls["read"] <= 3 * LINE
            store.calls.clear()
            await lab.skip("10s")
            assert store.calls["read"] <= 20, "somebody looks once a second, whoever waits"
            store.calls.clear()
            gate.open()
            for _ in range(LINE):
                await lab.skip("1s")
                if len(crew) == 0:
                    break
            assert sorted(tokens) == tokens
            assert len(set(tokens)) == LINE
            assert store.calls["read"] <= 8 * LINE
    finally:
        await old.close()
        await store.close()


@pytest.mark.parametrize("is_quick", [True, False])
async def test_who_takes_over_begins_some_before_he_takes_more(tmp_path: Path, is_quick: bool) -> None:
    clock, tokens = VirtualClock(), list[int]()
    store = CountingStore(tmp_path / "runs.db", clock=clock)
    store.count()
    gates: list[Gate | asyncio.Event] = [asyncio.Event()]
    old = await line_of_the_dead(store, clock, repair(gates, tokens))
    try:
        store.claims.clear()
        if not is_quick:
            store.is_quick.clear()
        async with Engine(store, repair(gates, tokens), clock=clock) as new, asyncio.timeout(WITHIN_S):
            while len(store.claims) < 2:
                await pass_time(clock)
            doubled = 2 * CLAIM_FIRST
            assert store.claims[:2] == [CLAIM_FIRST, doubled if is_quick else CLAIM_FIRST]
            store.is_quick.set()
            while len(new.inside.crew) < LINE:
                await pass_time(clock)
            gates[0].set()  # type: ignore[union-attr]
    finally:
        await old.close()
        await store.close()
