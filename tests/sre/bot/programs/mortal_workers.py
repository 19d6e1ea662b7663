"""Workers of the bot that die by SIGKILL, one after the other, until the ticket has ended; what became of each.

    python -m tests.sre.bot.programs.mortal_workers WORKSPACE PLAN [PLAN ...]

A PLAN is as in HOLDFAST_FAULTS: the first for a worker that finds the run where it was not before, the next ones for
those that find it where their predecessor left it. Each worker is a fork of this process, which has imported everything
and holds no thread and no loop at that moment: a real process that dies a real death, without the second that an
interpreter takes to start. Between two workers somebody approves what waits for review.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from holdfast import Engine, NotFound, faults
from holdfast_sre.cli.workspace import Workspace, existing_workspace, open_world
from holdfast_sre.flow.bot import USER, serve_workspace, workflow_for
from holdfast_sre.flow.chart import AWAITING_REVIEW
from holdfast_sre.flow.world import World
from holdfast_sre.ports import Decision

WORKERS_MAX = 80
PAUSE_S = 0.5


def main(folder: Path, plans: list[str]) -> None:
    """One JSON line per worker: its plan, how it ended, and the states that the run was in then."""
    place = asyncio.run(existing_workspace(folder, ticket=None))
    world = asyncio.run(open_world(folder))
    states: tuple[str, ...] = ()
    again = 0
    for _ in range(WORKERS_MAX):
        plan = plans[min(again, len(plans) - 1)]
        how = run_worker(place, plan)
        before, (states, is_ended) = states, asyncio.run(look(place, world))
        again = again + 1 if states == before else 0
        if again and how == "0":
            time.sleep(PAUSE_S)  # it found nothing to do: its run waits, for a retry for one; eighty looks pass quickly
        print(json.dumps({"plan": plan, "how": how, "states": states}), flush=True)
        if is_ended:
            return
        if how == "1":
            raise SystemExit("a worker ended by an error")
    raise SystemExit(f"not ended after {WORKERS_MAX} workers")


def run_worker(place: Workspace, plan: str) -> str:
    """Fork a worker and wait for its end."""
    pid = os.fork()
    if pid == 0:
        try:
            faults.plan(plan)
            asyncio.run(work(place))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else str(code)


async def work(place: Workspace) -> None:
    """What `holdfast-sre serve WORKSPACE --until-idle` does."""
    await serve_workspace(place.store_url, await open_world(place.folder), until_idle=True)


async def look(place: Workspace, world: World) -> tuple[tuple[str, ...], bool]:
    """Where the run is, and whether it has ended; what waits for review is approved."""
    async with Engine(place.store_url, workflow_for(world), works=False) as engine:
        try:
            run = await engine.get(place.ticket_id, user=USER)
        except NotFound:
            return (), False
        if run.state == AWAITING_REVIEW:
            approval = Decision("approve", "ana", run.data.diff_hash, key="ana")
            await world.reviews.decide(run.data.pull, approval)
        return run.states, run.run.is_ended


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
