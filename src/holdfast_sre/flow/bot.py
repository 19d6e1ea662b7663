"""The bot at work on one workspace: an engine that drives the tickets, and a watch over their open reviews.

Everything lives in the store and in the ports' own records, so a bot that is killed is simply started again: it goes
on watching the reviews of its waiting runs, and finishes what it had begun.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from holdfast import Engine, InvalidInput, InvalidTransition, NotFound, RunHandle, SystemClock, Unavailable, Workflow
from holdfast_sre.flow.analysis import Analysis
from holdfast_sre.flow.chart import (
    AWAITING_REVIEW,
    MONITORING,
    NAME,
    REVIEW_IN_PROGRESS,
    TICKET_DETECTED,
    Handler,
    sre_workflow,
)
from holdfast_sre.flow.incident import Incident
from holdfast_sre.flow.repair import Repair
from holdfast_sre.flow.world import World

log = logging.getLogger(__name__)

USER = "sre-team"
"""Whose runs these are: the team that the bot works for."""
WATCH_S = 0.25
"""How often tickets and open reviews are looked at; they are other systems, which do not tell."""


def workflow_for(world: World) -> Workflow:
    """The SRE workflow with the bot's handlers over a world."""
    return sre_workflow(handlers_of(Analysis(world), Repair(world)), dependencies=world.dependencies)


def handlers_of(*rooms: object) -> Mapping[str, Handler]:
    """The handlers by the name of their state: the public methods of the given objects."""
    return {name: getattr(room, name) for room in rooms for name in dir(room) if not name.startswith("_")}


class Bot:
    """Serves one world with an open engine that knows its workflow."""

    def __init__(self, engine: Engine, world: World) -> None:
        self._engine = engine
        self._world = world
        self._clock = SystemClock()
        self._complaint = ""

    async def serve(self, *, until_idle: bool = False) -> None:
        """Take new tickets and heed reviews for ever; with `until_idle`, until every run has ended or needs people.

        A ticket or review that cannot be read is told once and looked at again; the runs go on meanwhile.
        """
        while True:
            complaint, is_idle = "", False
            try:
                await self.take_tickets()
            except (InvalidInput, Unavailable) as error:
                complaint = str(error)
            try:
                is_idle = not await self.watch_runs()
            except (InvalidInput, NotFound, Unavailable) as error:
                complaint = str(error)
            if complaint and complaint != self._complaint:
                log.warning("cannot look at everything: %s", complaint)
            self._complaint = complaint
            if until_idle and is_idle:
                return
            await self._clock.sleep(WATCH_S)

    async def take_tickets(self) -> list[RunHandle]:
        """Start a run for each ticket assigned to the bot; one run per ticket, whatever happens in between."""
        tickets = await self._world.tickets.assigned(self._world.assignee)
        return [await self._engine.start(NAME, {"ticket": ticket.id}, id=ticket.id, user=USER) for ticket in tickets]

    async def watch_runs(self) -> int:
        """Let new runs begin and tell waiting ones what was decided; how many go on without anybody's doing."""
        busy, after = 0, None
        while True:
            client = self._engine.client(USER)
            page, after = await client.runs(workflow=NAME, statuses=("running", "waiting", "suspect"), after=after)
            for run in page:
                is_resting = run.status == "waiting" and _is_in_review(run) and not await self._heed(run)
                busy += not is_resting
                if run.status == "waiting" and run.state == MONITORING:
                    await run.send(TICKET_DETECTED, by=self._world.assignee, id="detected")
            if after is None:
                return busy

    async def _heed(self, run: RunHandle) -> bool:
        """Tell a run the latest verdict of this round on its diff; whether there was one.

        Those that the run itself put into the review bear its id in their keys.
        """
        incident: Incident = run.data
        pull = await self._world.reviews.read(incident.pull)
        for place in range(len(pull.decisions) - 1, incident.decided - 1, -1):
            decision = pull.decisions[place]
            if decision.diff_hash != incident.diff_hash or decision.key.startswith(run.id):
                continue
            with suppress(InvalidTransition):  # another verdict came first, and its state is journalled
                await run.send(decision.verdict, by=decision.by, data=decision.text, id=f"review-{pull.number}-{place}")
            return True
        return False


def _is_in_review(run: RunHandle) -> bool:
    return any(state in (AWAITING_REVIEW, REVIEW_IN_PROGRESS) for state in run.states)


async def serve_workspace(store_url: str, world: World, *, until_idle: bool = False) -> None:
    """Open an engine on a workspace's store and serve until cancelled (or idle)."""
    async with Engine(store_url, workflow_for(world)) as engine:
        await Bot(engine, world).serve(until_idle=until_idle)
