"""What the Celery benchmark runs: a plain task that does nothing, and a workflow of one state that does nothing.

`celery -A benchmarks.contestants.trivial worker` works on both; the environment names the broker and the store. As a
program, `python -m benchmarks.contestants.trivial URL`, it is a worker of ours without Celery, ended by closing stdin.
"""

from __future__ import annotations

import asyncio
import os
import sys

from celery import Celery

from holdfast import Engine, RunContext, Workflow
from holdfast.integrations.celery import CeleryExecutor

BROKER, STORE = "BENCH_BROKER", "BENCH_STORE"
QUEUE = "holdfast"
RUNS_MAX = 250
"""Places of a worker process: fewer than there are runs."""


def workflow() -> Workflow:
    """One state whose handler does nothing."""
    wf = Workflow("trivial", data=dict)

    @wf.state("working", start=True, to="worked")
    async def work(ctx: RunContext) -> None:
        return

    wf.final("worked")
    return wf


def make(broker: str, store: str) -> tuple[Celery, CeleryExecutor]:
    """The app, with its plain task "nothing", and the executor."""
    app = Celery("bench", broker=broker)
    app.conf.task_acks_late = True

    @app.task(name="nothing", shared=False, ignore_result=True)
    def nothing() -> None:
        return

    return app, CeleryExecutor(app, store, workflow(), queue=QUEUE, runs_max=RUNS_MAX)


async def work(url: str) -> None:
    """Work until stdin is closed."""
    async with Engine(url, workflow(), runs_max=RUNS_MAX):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
elif BROKER in os.environ:
    app, executor = make(os.environ[BROKER], os.environ[STORE])
