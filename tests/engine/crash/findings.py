"""What a database says once the dust has settled: every run with its journal, checked against each other."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import asyncpg

from holdfast import codec
from holdfast.store.contract.protocol import OpenStore, Store
from holdfast.store.contract.records import Event, Query, Record, Scope
from holdfast.store.open import open_store
from holdfast.store.rows import journal
from holdfast.workflow.model.run import MEMO, RUN, Run, decode_run
from tests.engine.crash.processes import FILE, LIMIT_S, LOOK_S

PAGE = 1000
_AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND state = 'active'
        AND pid <> pg_backend_pid()"""

_IN_TRANSACTION = _AT_WORK.replace("state = 'active'", "state <> 'idle'")
STOPS_MAX = 20
STOPPED_S = 1.0
"""How long a server may need to finish what was sent to it just before."""


class Rival(Protocol):
    """A process that can be stopped."""

    def stop(self) -> None: ...

    def go_on(self) -> None: ...


class Told(NamedTuple):
    """One journal row. `source` and `target` are empty unless it is a transition."""

    name: str
    source: str
    target: str
    trigger: str
    agent: str
    change_id: str
    facts: dict[str, Any]


class Found(NamedTuple):
    """A run as it stands, with its journal."""

    run: Run
    owner: str
    epoch: int
    rows: list[Told]

    @property
    def transitions(self) -> list[tuple[str, str]]:
        """(from, to) of each transition, in order."""
        return [(row.source, row.target) for row in self.rows if row.name == "transition"]

    def count(self, name: str) -> int:
        """How many journal rows have this name."""
        return sum(row.name == name for row in self.rows)


def examine(url: str) -> dict[str, Found]:
    """All runs by ticket id, after checking that the whole store is sound and each run is as its journal says.

    For a store that nobody writes to meanwhile. What a process that was killed has sent to a server just before is
    waited for: the server finishes it.
    """

    async def look() -> dict[str, Found]:
        if not url.startswith((FILE, "redis:")):
            await _until_idle(url)
        store = open_store(url)
        try:
            return await found_in(store)
        finally:
            await store.close()

    return asyncio.run(look())


def runs_now(url: str) -> dict[str, Run]:
    """All runs by ticket id as they stand, while processes may be writing: nothing is checked."""

    async def look() -> dict[str, Run]:
        store = open_store(reading(url))
        try:
            runs = [decode_run(record.body) for record in await all_runs(store)]
            return {run.ticket_id: run for run in runs}
        finally:
            await store.close()

    return asyncio.run(look())


def reading(url: str) -> str:
    """The URL for those who only look, and never wait for a turn to write."""
    return f"{url}?mode=ro" if url.startswith(FILE) else url


def memo_names(url: str, *, kind: str = MEMO) -> list[str]:
    """The ids of all memos, or other records, that the store holds, sorted."""

    async def look() -> list[str]:
        store = open_store(url)
        try:
            page = await store.scan(Scope.system(), Query(kind=kind), limit=PAGE)
            return [record.key.id for record in page.records]
        finally:
            await store.close()

    return asyncio.run(look())


async def found_in(store: OpenStore) -> dict[str, Found]:
    """As `examine`, in a store that is open."""
    verification = await store.verify()
    assert verification.is_clean, [str(problem) for problem in verification.problems]
    found = {}
    for record in await all_runs(store):
        events = await store.events(Scope.system(), record=record.key, limit=PAGE)
        _check_last_row(record, events)
        run = decode_run(record.body)
        found[run.ticket_id] = Found(run, record.owner, record.epoch, [_told(event) for event in events])
    return found


async def all_runs(store: Store) -> list[Record]:
    """The record of every run."""
    records: list[Record] = []
    after: str | None = None
    while True:
        page = await store.scan(Scope.system(), Query(kind=RUN), after=after, limit=PAGE)
        records += page.records
        if page.next is None:
            return records
        after = page.next


def stop_outside_a_commit(rival: Rival, url: str) -> None:
    """SIGSTOP, where nobody has the turn to write the file, or the server has nothing under way for anybody: else it
    goes on, and is stopped anew."""
    for _ in range(STOPS_MAX):
        if url.startswith(FILE):
            rival.stop()
            if _is_turn_free(Path(url.removeprefix(FILE))):
                return
            rival.go_on()
            time.sleep(LOOK_S)  # its commit needs the processor to end
            continue
        asyncio.run(_until_idle(url, query=_IN_TRANSACTION))
        rival.stop()
        try:
            asyncio.run(_until_idle(url, limit_s=STOPPED_S, query=_IN_TRANSACTION))
            return
        except TimeoutError:
            rival.go_on()
    raise AssertionError(f"expected to be stopped outside a commit, saw {STOPS_MAX} times one under way")


def _is_turn_free(path: Path) -> bool:
    """Whether a writer of the file could begin at once, and none waits for another."""
    with contextlib.ExitStack() as files:
        for name in (f"{path.name}.lock.next", f"{path.name}.lock"):
            file = files.enter_context(path.with_name(name).open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True


async def _until_idle(url: str, *, limit_s: float = LIMIT_S, query: str = _AT_WORK) -> None:
    """Until the server has nothing to do for anybody else on this database."""
    connection = await asyncpg.connect(url.removeprefix("hybrid+").partition("?")[0])
    try:
        async with asyncio.timeout(limit_s):
            while True:
                if not await connection.fetchval(query):
                    return
                await asyncio.sleep(LOOK_S)
    finally:
        await connection.close()


def _check_last_row(record: Record, events: list[Event]) -> None:
    """The state row is what the last journal row made of it."""
    told = [event for event in events if event.delta]
    assert told, f"{record.key}: no journal row tells how it came to be"
    assert told[-1].version == record.version, f"{record.key}: row of {told[-1].version}, record of {record.version}"
    rebuilt = journal.rebuilt(events)
    assert rebuilt is not None
    assert rebuilt.body == codec.decode(record.body), f"{record.key}: its journal tells another body"


def _told(event: Event) -> Told:
    body = codec.decode(event.body)
    return Told(
        event.name,
        body.get("from", ""),
        body.get("to", ""),
        body.get("trigger", ""),
        body["agent"],
        event.change_id,
        body["metadata"],
    )
