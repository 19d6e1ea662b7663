"""Runs that older code still owns when newer code starts: a mapping takes them over when their owner ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Engine, RunContext, Workflow
from holdfast.store.contract.protocol import Store
from holdfast.store.open import open_store
from holdfast.testing import Lab, VirtualClock
from tests.engine.journal import check_everything, moves, told
from tests.engine.labs import nothing


def older() -> Workflow:
    workflow = Workflow("flow", version=1)

    @workflow.state("fix", start=True, to="end")
    async def fix(ctx: RunContext) -> None:
        await ctx.sleep(1_000_000)

    workflow.final("end")
    return workflow


def newer() -> Workflow:
    workflow = Workflow("flow", version=2)
    workflow.add_state("repair", nothing, start=True, to="end")
    workflow.final("end")
    workflow.migrate(1, {"fix": "repair"})
    return workflow


async def die(engine: Engine) -> None:
    """As a killed process: nothing is given back, and the file lock that proved its life is free."""
    inside = engine.inside
    await inside.runtime.tasks.stop()
    if inside.ownership._life is not None:
        inside.ownership._life.release()


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "ended in order"])
async def test_a_run_that_was_owned_when_newer_code_started_is_migrated(tmp_path: Path, is_killed: bool) -> None:
    clock = VirtualClock()
    store: Store = open_store(f"sqlite:///{tmp_path / 'runs.db'}", clock=clock)
    old = await Engine(store, older(), clock=clock).__aenter__()
    try:
        run = await old.start("flow", id="T", user="tester")
        if is_killed:
            await die(old)
        async with Lab(newer(), store=store, clock=clock) as lab:
            if not is_killed:
                await lab.settle()
                assert (await lab.client.get("T")).run.version == 1, "its owner lives and knows it"
                await old.close()
            await lab.skip("6s")
            found = await lab.client.get("T")
            assert (found.id, found.status, found.run.version) == (run.id, "done", 2)
            (row,) = await told(found, "migrated")
            assert (row["from_version"], row["to_version"]) == (1, 2)
            assert (await moves(found))[-1] == "repair -repair.done-> end"
        await check_everything(store)
    finally:
        await old.close()
        await store.close()


async def test_the_version_of_its_own_takes_a_run_before_a_mapping_does() -> None:
    async with Lab(older(), newer()) as lab:
        old = await lab.client.start("flow", version=1)
        await lab.settle()
        assert (await old.refresh()).run.version == 1
