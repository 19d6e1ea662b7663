"""The facts about a store that `doctor` judges: its processes, its locks, its live runs. Reads, and changes nothing."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from holdfast import codec
from holdfast.cli.documents.runs import iso, iso_or_none, lock_line
from holdfast.cli.health import BackupFacts, LockLine, ProcessFacts, RunFacts, StoreFacts
from holdfast.errors import Corrupt, Rejected
from holdfast.locks import look_at_locks
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Query, Record, Scope
from holdfast.store.liveness import FileLiveness
from holdfast.store.upkeep.backups import LastBackup, last_backup
from holdfast.store.upkeep.copy import marker_of
from holdfast.store.wrapping.seal import CannotOpen
from holdfast.workflow.model.run import ACTIVE, PROCESS, RUN, RUNNABLE, Run, decode_run
from holdfast.workflow.process.ownership import ProcessInfo

RUNS_MAX = 20_000
"""How many live runs are looked at; further ones are said to exist."""
LISTED_MAX = 1000
"""How many locks and processes are looked at."""
PAGE = 500


async def examine(store: Store) -> StoreFacts:
    """All that `doctor` wants to know. A store that cannot be read raises what reading it raises."""
    now = store.now_s()
    processes = await processes_of(store)
    alive = {process.id for process in processes if process.is_alive}
    locks: list[LockLine] = []
    with contextlib.suppress(CannotOpen):  # without the key nobody sees who holds them
        locks = await locks_of(store, Scope.system())
    counts: Counter[str] = Counter(dict.fromkeys(ACTIVE, 0))
    notable: list[RunFacts] = []
    newest = now
    async for record in _live_runs(store):
        counts[record.status] += 1
        newest = max(newest, record.written_at)
        try:
            run = decode_run(record.body)
        except CannotOpen:  # whether it could go on is not plain; that it stands still is
            if record.status not in RUNNABLE:
                notable.append(_sealed(record))
            continue
        idle_s = _idle_s(run, record, alive, now)
        if idle_s is not None or run.status not in ("running", "waiting"):
            notable.append(_run(run, idle_s))
    return StoreFacts(
        location=without_secret(store.capabilities.location),
        durability=store.capabilities.durability,
        ailment=store.ailment(),
        clock_offset_s=newest - now,
        processes=tuple(processes),
        locks=tuple(locks),
        runs=tuple(notable),
        counts=dict(counts),
        is_whole=counts.total() < RUNS_MAX,
        backup=_backup(await last_backup(store), now),
        copy_of=marker.source if (marker := await marker_of(store)) else "",
    )


async def locks_of(store: Store, scope: Scope, *, limit: int = LISTED_MAX) -> list[LockLine]:
    """The first `limit` locks that somebody holds or waits for."""
    found: list[LockLine] = []
    async with contextlib.aclosing(look_at_locks(store, scope)) as views:
        async for view in views:
            found.append(lock_line(view))
            if len(found) == limit:
                break
    return found


async def processes_of(store: Store) -> list[ProcessFacts]:
    """The processes that hold a lease, dead ones whose runs nobody took over yet among them."""
    now = store.now_s()
    page = await store.scan(Scope.system(), Query(kind=PROCESS), limit=LISTED_MAX)
    return [_process(store, record, now) for record in page.records]


async def check_alone(store: Store, doing: str) -> None:
    """Refuse to change a store below engines that work on it. One that is too damaged to tell is worked on by none."""
    with contextlib.suppress(Corrupt):
        living = [f"{each.host}:{each.pid}" for each in await processes_of(store) if each.is_alive]
        if living:
            place = without_secret(store.capabilities.location)
            raise Rejected(f"{doing}: expected no engine at work on {place}, saw {', '.join(living)}; stop it first")


async def _live_runs(store: Store) -> AsyncIterator[Record]:
    after: str | None = None
    for _ in range(RUNS_MAX // PAGE):
        page = await store.scan(Scope.system(), Query(kind=RUN, statuses=ACTIVE), after=after, limit=PAGE)
        for record in page.records:
            yield record
        if page.next is None:
            return
        after = page.next


def _process(store: Store, record: Record, now: float) -> ProcessFacts:
    info = codec.decode(record.body, ProcessInfo, what="process lease")
    left = (record.due or now) - now
    folder = store.capabilities.lock_folder
    is_provable = folder is not None and info.host == socket.gethostname()
    is_alive = left > 0 and (not is_provable or FileLiveness(Path(str(folder))).is_alive(info.id))
    return ProcessFacts(
        id=info.id,
        host=info.host,
        pid=info.pid,
        started_at=iso(info.started_at),
        lease_left_s=round(left, 3),
        is_alive=is_alive,
        heartbeat_at=iso(record.written_at),
        queues=info.queues,
        runs=info.runs,
        runs_max=info.runs_max,
        is_draining=info.is_draining,
        clock_offset_s=info.clock_offset_s,
    )


def _backup(last: LastBackup, now: float) -> BackupFacts:
    return BackupFacts(
        at=iso_or_none(last.at),
        age_s=None if last.at is None else round(max(0.0, now - last.at), 3),
        took_s=round(last.took_s, 3),
        place=last.place,
        was_drilled=last.was_drilled,
        every_s=last.every_s,
        failure=last.failure,
        failure_age_s=None if last.failed_at is None else round(max(0.0, now - last.failed_at), 3),
    )


def _run(run: Run, idle_s: float | None) -> RunFacts:
    return RunFacts(
        id=run.id, ticket=run.ticket_id, workflow=run.queue, status=run.status, reason=run.reason, idle_s=idle_s
    )


def _sealed(record: Record) -> RunFacts:
    """A run whose payload does not open here, by what lies plain beside it."""
    return RunFacts(
        id=record.key.id,
        ticket=record.labels.get("ticket", ""),
        workflow=record.queue,
        status=record.status,
        reason="sealed; name its codec to read why",
    )


def _idle_s(run: Run, record: Record, alive: set[str], now: float) -> float | None:
    """Seconds since a run could have gone on although no living process owns it; None where it has nothing to do."""
    if record.owner in alive:
        return None
    since = [run.due] if run.due is not None and run.due <= now else []
    since += [record.written_at] if run.status == "running" else []
    return now - min(since) if since else None
