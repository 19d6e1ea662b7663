"""A process that lost its lease looks which of its runs others took, whatever stands in its way."""

from __future__ import annotations

from msgspec.structs import replace

from holdfast import RunContext, Workflow
from holdfast.store.contract.records import Claim, Scope
from holdfast.store.memory import MemoryStore
from holdfast.testing import FaultyStore, Lab, VirtualClock
from holdfast.workflow.model.run import RUN


async def test_a_damaged_run_and_a_store_that_is_away_hide_no_lost_run() -> None:
    workflow = Workflow("gated")

    @workflow.state("work", start=True, to="end")
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.final("end")
    clock = VirtualClock()
    inner = MemoryStore(clock=clock)
    store = FaultyStore(inner)
    async with Lab(workflow, clock=clock, store=store) as lab:
        gate = lab.gate()
        spoilt, taken, kept = [await lab.start("gated") for _ in range(3)]
        await lab.settle()
        async with inner.snapshot() as view:
            (history,) = [each async for each in view.histories() if each.key == spoilt.run.key]
        assert history.row is not None
        assert history.row.record is not None
        row = history.row._replace(record=replace(history.row.record, body=b"{}"))
        await inner.load([replace(history, row=row)])
        owner = lab.engine.inside.runtime.process_id
        await inner.claim(Scope.system(), Claim(kind=RUN, owner="other", from_owners=(owner,), ids=(taken.id,)))
        store.fall_ill()
        checking = lab.engine.inside.runtime.tasks.start(lab.engine.inside.crew.check_epochs(), name="check")
        await lab.skip("1s")
        assert not checking.done()
        store.recover()
        await lab.skip("1s")
        assert await checking == 1
        crew = lab.engine.inside.crew
        assert (taken.id in crew, spoilt.id in crew, kept.id in crew) == (False, True, True)
    await inner.close()
