"""A run that waits for a lock gives its place to the one who has the lock, but does not come and go without end."""

from __future__ import annotations

from typing import Any

from holdfast import RunContext, Workflow
from holdfast.testing import Lab
from holdfast.workflow.way import Way

SWEEP_S = 1.0


class Waiting:
    """An actor of a run that waits for a lock, as far as whoever makes way sees it."""

    def __init__(self, run: Any) -> None:
        self.run = run
        self.asked = 0

    def step_aside(self) -> None:
        self.asked += 1


class Full:
    """A crew in which one run waits."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    def waiting_for_locks(self) -> list[Any]:
        return [self._waiting]


async def test_who_waits_for_one_that_cannot_be_taken_up_steps_aside_once_a_sweep() -> None:
    lab = Lab()
    gate = lab.gate()
    workflow = Workflow("repair", data=dict)

    @workflow.state("work", start=True, to="end", lock=lambda data: ("repository", "company/cart"))
    async def work(ctx: RunContext) -> None:
        await gate.wait()

    workflow.final("end")
    async with lab:
        await lab.restart(workflow)
        await lab.start("repair")
        await lab.settle()
        waits = await lab.start("repair")
        await lab.settle()
        runtime, crew = lab.engine.inside.runtime, lab.engine.inside.crew
        actor = crew.find(waits.id)
        assert actor is not None
        waiting, dead = Waiting(actor.run), {runtime.process_id}
        way = Way(runtime, Full(waiting), sweep_s=SWEEP_S, on_due=lambda: None)  # type: ignore[arg-type]
        for round_ in range(10):
            await way.make(dead=dead, round_=round_)
        assert waiting.asked == 1
        await lab.skip(SWEEP_S)
        await way.make(dead=dead, round_=10)
        assert waiting.asked == 2
        await way.make(dead=set(), round_=11)
        assert waiting.asked == 2, "its holder works"
        gate.open()
        await lab.settle()
