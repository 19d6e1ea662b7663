"""The bot at work on one workspace: an engine that drives the tickets, and a watch over their open reviews.

Everything lives in the store and in the ports' own records, so a bot that is killed is simply started again: it goes
on watching the reviews of its waiting runs, and finishes what it had begun.
"""

from __future__ import annotations

from collections.abc import Mapping

from holdfast import Engine, InvalidTransition, RunHandle, SystemClock, Workflow
from holdfast_sre.ports import PullRequest
from holdfast_sre.sre_chart import AWAITING_REVIEW, NAME, REVIEW_IN_PROGRESS, TICKET_DETECTED, Handler, sre_workflow
from holdfast_sre.work_analysis import Analysis
from holdfast_sre.work_repair import Repair
from holdfast_sre.world import World

USER = "sre-team"
"""Whose runs these are: the team that the bot works for."""
WATCH_S = 0.25
"""How often tickets and open reviews are looked at; they are other systems, which do not tell."""


def workflow_for(world: World) -> Workflow:
    """The SRE workflow with the bot's handlers over a world."""
    return sre_workflow(handlers_of(Analysis(world), Repair(world)))


def handlers_of(*rooms: object) -> Mapping[str, Handler]:
    """The handlers by the name of their state: the public methods of the given objects."""
    return {name: getattr(room, name) for room in rooms for name in dir(room) if not name.startswith("_")}


class Bot:
    """Serves one world with an open engine that knows its workflow."""

    def __init__(self, engine: Engine, world: World) -> None:
        self._engine = engine
        self._world = world
        self._clock = SystemClock()

    async def serve(self, *, until_idle: bool = False) -> None:
        """Take new tickets and heed reviews for ever; with `until_idle`, until every run has ended or needs people."""
        while True:
            await self.take_tickets()
            open_runs = await self.watch_reviews()
            if until_idle and not open_runs:
                return
            await self._clock.sleep(WATCH_S)

    async def take_tickets(self) -> list[RunHandle]:
        """Start a run for each ticket assigned to the bot; one run per ticket, whatever happens in between."""
        started = []
        for ticket in await self._world.tickets.assigned(self._world.assignee):
            run = await self._engine.start(NAME, {"ticket": ticket.id}, id=ticket.id, user=USER)
            if run.status == "waiting" and run.state == "system_idle.monitoring":
                await run.send(TICKET_DETECTED, by=self._world.assignee, id="detected")
            started.append(run)
        return started

    async def watch_reviews(self) -> int:
        """Tell every waiting run what was decided about its diff; how many runs are still under way."""
        page, _ = await self._engine.client(USER).runs(workflow=NAME, statuses=("running", "waiting", "suspect"))
        for run in page:
            if run.status == "waiting" and run.data.pull and _is_in_review(run):
                await self._heed(run, await self._world.reviews.read(run.data.pull))
        return len(page)

    async def _heed(self, run: RunHandle, pull: PullRequest) -> None:
        for number, decision in enumerate(pull.decisions):
            if decision.diff_hash != run.data.diff_hash or decision.key.startswith(run.id):
                continue
            signal_id = f"review-{pull.number}-{pull.round}-{number}"
            try:
                await run.send(decision.verdict, by=decision.by, data=decision.text, id=signal_id)
            except InvalidTransition:
                continue  # another decision was heeded first, and its state is journalled
            return


def _is_in_review(run: RunHandle) -> bool:
    return any(state in (AWAITING_REVIEW, REVIEW_IN_PROGRESS) for state in run.states)


async def serve_workspace(store_url: str, world: World, *, until_idle: bool = False) -> None:
    """Open an engine on a workspace's store and serve until cancelled (or idle)."""
    async with Engine(store_url, workflow_for(world)) as engine:
        await Bot(engine, world).serve(until_idle=until_idle)


async def decide(
    engine: Engine, ref: str, verdict: str, *, by: str, text: str = "", about: str | None = None
) -> RunHandle:
    """A person's verdict on what a run asks for now, sent straight to the run; how it then stands."""
    run = await engine.get(ref, user=USER)
    return await run.send(verdict, by=by, data=text, about=about)
