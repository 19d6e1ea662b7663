"""Commands that work on runs, and show who does: worker, workers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from holdfast.app import load_workflows
from holdfast.cli import rules
from holdfast.cli.command import WORK, command
from holdfast.cli.documents.runs import DrainDocument, WorkerDocument
from holdfast.cli.drawing import tables
from holdfast.cli.health import CLOCK_OFFSET_MAX_S
from holdfast.cli.procedures.examination import processes_of
from holdfast.cli.session import Desk, check_place, outlines
from holdfast.cli.stopping import stopped_by_signals
from holdfast.clock import parse_duration_s
from holdfast.errors import InvalidInput
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Query, Scope
from holdfast.workflow.engine import Engine
from holdfast.workflow.model.run import ACTIVE, RUN, queue_of
from holdfast.workflow.model.workflow import Workflow

CONCURRENCY = 100
THREADS = "holdfast-steps"
IDLE_THREAD_ENDS_S = 0.1


def add_to(app: typer.Typer) -> None:
    """Add these commands to a program."""
    command(app, "worker", WORK, is_scoped=True)(worker)
    command(app, "workers", WORK, is_scoped=False)(workers)


async def worker(
    desk: Desk,
    *,
    concurrency: Annotated[int, typer.Option(min=1, help="Work on at most so many runs at once.")] = CONCURRENCY,
    queue: Annotated[
        list[str] | None, typer.Option(metavar="NAME[@VERSION]", help="Only this workflow; may be repeated.")
    ] = None,
    grace: Annotated[str, typer.Option(help="How long handlers at work may go on after SIGTERM.")] = "30s",
    may_forget: Annotated[
        bool, typer.Option("--may-forget", help="Also on a store that may forget what it acknowledged: Redis alone.")
    ] = False,
) -> None:
    """Work on the runs of the workflows at --app until SIGTERM or Ctrl-C, then drain; a second one ends it at once."""
    grace_s = parse_duration_s(grace)
    workflows = _chosen(load_workflows(desk.settings.app), queue or ())
    check_place(desk.settings.store, must_exist=False)
    threads = ThreadPoolExecutor(thread_name_prefix=THREADS)
    engine = Engine(
        desk.settings.store,
        *workflows,
        runs_max=concurrency,
        executor=threads,
        durable=not may_forget,
        codec=desk.codec(),
    )
    with stopped_by_signals() as stop:
        async with engine:
            info = engine.inside.ownership.info
            document = WorkerDocument(
                id=info.id,
                host=info.host,
                pid=info.pid,
                queues=info.queues,
                concurrency=concurrency,
                notes=(*_clock_note(info.clock_offset_s), *await _unserved(engine.store, info.queues)),
            )
            desk.output.one(document, tables.worker_page)
            await stop.wait()
            cut_off = await engine.drain(grace_s=grace_s)
    desk.output.one(DrainDocument(id=info.id, cut_off=cut_off), tables.drain_line)
    _leave(threads)


async def workers(desk: Desk) -> None:
    """List the processes that work on runs: what they serve, how many runs they have, when they were heard of last."""
    async with desk.opened() as store:
        found = await processes_of(store)
        now = store.now_s()
    desk.output.lines(found, lambda lines: tables.workers_table(lines, now=now, width=desk.output.width))


def _chosen(workflows: Sequence[Workflow], wanted: Iterable[str]) -> list[Workflow]:
    """Those of `workflows` that `wanted` names, all where it names none. Raises InvalidInput for what is not there."""
    if not workflows:
        raise InvalidInput(
            "worker: expected workflows to serve, saw none; name their code: --app module:workflow, or `app` in "
            "holdfast.toml"
        )
    names = list(wanted)
    known = [queue_of(workflow.name, workflow.version) for workflow in workflows]
    for name in names:
        if name not in known and name not in [workflow.name for workflow in workflows]:
            raise InvalidInput(
                f"--queue {name}: expected one of {', '.join(known)}; name the code of another by --app, or map its "
                "runs to a version that is here: workflow.migrate(from_version, {old: new})"
            )
    chosen = zip(known, workflows, strict=True)
    return [workflow for queue, workflow in chosen if not names or queue in names or workflow.name in names]


def _clock_note(offset_s: float) -> list[str]:
    if abs(offset_s) <= CLOCK_OFFSET_MAX_S:
        return []
    side = "ahead of" if offset_s > 0 else "behind"
    note = (
        f"this machine's clock is {abs(offset_s):.1f} s {side} the store's: leases go by the store's and are safe,"
        " what your code reads from it is not; set it by NTP"
    )
    return [note]


async def _unserved(store: Store, queues: Iterable[str]) -> list[str]:
    """A word about each version of a workflow that has live runs, and no process to take them up."""
    served = {*queues}.union(*(process.queues for process in await processes_of(store) if process.is_alive))
    notes = []
    for queue in sorted({outline.queue for outline in await outlines(store)} - served):
        page = await store.scan(Scope.system(), Query(kind=RUN, statuses=ACTIVE, queues=(queue,)), limit=1)
        if page.records:
            name, _, version = queue.rpartition("@")
            notes.append(
                f"no process knows {queue}, and it has live runs: start a worker with its code, or map them in newer "
                f"code of {name}: workflow.migrate({version}, {{old: new}})"
            )
    return notes


def _leave(threads: ThreadPoolExecutor) -> None:
    """Sync steps that outlasted the grace cannot be ended; their runs are given back, so nobody waits for them."""
    threads.shutdown(wait=False, cancel_futures=True)
    mine = [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
    for thread in mine:
        thread.join(timeout=IDLE_THREAD_ENDS_S)
    if any(thread.is_alive() for thread in mine):
        sys.stdout.flush()
        os._exit(rules.DONE)
