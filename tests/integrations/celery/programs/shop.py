"""A Celery app with its executor, as a user would write it; everything that differs comes from the environment.

Handlers write "what run pid" to a ledger, one line for each time that they are at work.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import Celery

from holdfast import Retry, RunContext, Workflow
from holdfast.integrations.celery import CeleryExecutor, ReaperOptions, Route


def note(what: str, run: str) -> None:
    """One line in the ledger, whole."""
    with Path(os.environ["SHOP_LEDGER"]).open("a") as file:
        file.write(f"{what} {run} {os.getpid()}\n")


def gate(ledger: Path, run: str) -> Path:
    """The file that lets a run's handler go on."""
    return ledger.with_name(f"{run}.open")


async def pack(ctx: RunContext[dict[str, Any]]) -> None:
    """At once."""
    note("pack", ctx.input)


async def ship(ctx: RunContext[dict[str, Any]]) -> None:
    """Until the gate is open; a killer takes its process along."""
    note("ship", ctx.input)
    if ctx.input.startswith("killer"):
        os.kill(os.getpid(), signal.SIGKILL)
    while not gate(Path(os.environ["SHOP_LEDGER"]), ctx.input).exists():  # noqa: ASYNC110 - the gate is opened by another process
        await asyncio.sleep(0.02)


def orders(*, version: int = 1) -> Workflow:
    """Packs, waits for a word or a moment, and ships."""
    workflow = Workflow("orders", version=version, data=dict, retry=Retry(attempts_max=1))
    workflow.add_state("packing", pack, start=True, to="packed")
    workflow.wait("packed", on={"ship": "shipping"}, after={"1s": "shipping"})
    workflow.add_state("shipping", ship, to="shipped")
    workflow.final("shipped")
    return workflow


def shop(environ: Mapping[str, str]) -> tuple[Celery, CeleryExecutor]:
    """The app, and the executor that hands it runs."""
    app = Celery("shop", broker=environ["SHOP_BROKER"])
    app.conf.worker_prefetch_multiplier = 1
    executor = CeleryExecutor(
        app,
        environ["SHOP_STORE"],
        orders(),
        queues={"gpu": Route(labels={"needs": "gpu"})},
        suspects_queue="suspects",
        runs_max=int(environ["SHOP_RUNS_MAX"]),
        wait_max_s=0.5,
        drain_s=float(environ["SHOP_DRAIN_S"]),
        reaper=ReaperOptions(look_s=0.1, patience_s=float(environ["SHOP_PATIENCE_S"]), patience_max_s=600),
        lease_ttl_s=3.0,
        heartbeat_s=0.5,
    )
    return app, executor
