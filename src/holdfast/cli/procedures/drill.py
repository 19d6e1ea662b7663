"""The restore drill: a backup is brought back into a throw-away store, and everything in it is looked at.

What it answers: can this backup be restored, how long does that take, how old is what would come back, and would every
run know where it stands. Nothing is left behind, and no other store is touched.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from holdfast import chart as charts
from holdfast.chart import Chart, ChartDef
from holdfast.cli.documents.keeping import AgainstDocument, DrillDocument
from holdfast.cli.documents.runs import iso
from holdfast.clock import monotonic_s
from holdfast.errors import HoldfastError
from holdfast.store.contract.protocol import OpenStore, Store
from holdfast.store.contract.records import SYSTEM_TENANT, Key, Query, Record, Scope
from holdfast.store.sqlite import archive
from holdfast.store.sqlite.store import SqliteStore
from holdfast.store.upkeep.backups import LAST
from holdfast.store.upkeep.copy import difference, histories, paired, place_of
from holdfast.store.wrapping.seal import SEALED_BYTES_MAX, CannotOpen, Codec
from holdfast.store.wrapping.sealed import SealedStore
from holdfast.workflow.model.run import CHART, RUN, Run, decode_run, where_of

PAGE = 500
PROBLEMS_MAX = 100
"""How many problems are listed; all are counted."""


async def drill(
    source: Path, *, now_s: float, against: OpenStore | None = None, codec: Codec | None = None
) -> DrillDocument:
    """Restore `source` into a file that goes away again. `against`: the store that a restore would replace.
    `codec` opens the runs of a sealed one; those that are not opened are counted by what lies plain.

    Raises what restoring raises, Corrupt first of all.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-drill-") as folder:
        began_s = monotonic_s()
        taken_at_s = archive.taken_at_s(source)
        store = SqliteStore(Path(folder) / "drill.db", process="holdfast drill", payload_bytes_max=SEALED_BYTES_MAX)
        try:
            restored = await store.restore(source)
            restore_s = monotonic_s() - began_s
            found = await store.verify()
            problems = [str(problem) for problem in found.problems]
            if (found.records, found.events) != (restored.records, restored.events):
                problems.append(
                    f"expected {restored.records} records and {restored.events} events, as the backup has, saw "
                    f"{found.records} and {found.events} restored"
                )
            runs = await _Runs(store if codec is None else SealedStore(store, codec)).examined()
            compared = None if against is None else await _compared(store, against)
        finally:
            await store.close()
    problems += runs.problems
    return DrillDocument(
        source=str(source),
        is_good=not problems,
        taken_at=iso(taken_at_s),
        age_s=round(max(0.0, now_s - taken_at_s), 3),
        restore_s=round(restore_s, 3),
        took_s=round(monotonic_s() - began_s, 3),
        records=found.records,
        events=found.events,
        runs=dict(sorted(runs.statuses.items())),
        states=dict(sorted(runs.states.items())),
        unknown_charts=runs.unknown,
        problem_count=len(problems),
        problems=tuple(problems[:PROBLEMS_MAX]),
        against=compared,
    )


class _Runs:
    """The runs of a store, each checked against the chart that it stands in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._charts: dict[str, Chart | None] = {}
        self.statuses: Counter[str] = Counter()
        self.states: Counter[str] = Counter()
        self.unknown = 0
        self.problems: list[str] = []

    async def examined(self) -> _Runs:
        """Itself, having looked at every run."""
        async for record in _all_runs(self._store):
            try:
                run = decode_run(record.body)
                await self._look_at(run, record)
            except CannotOpen:
                self.statuses[record.status] += 1
                self.states[f"{record.queue} sealed"] += 1
            except HoldfastError as error:
                self.problems.append(f"{record.key}: {error.message}")
        return self

    async def _look_at(self, run: Run, record: Record) -> None:
        self.statuses[run.status] += 1
        self.states[f"{run.queue} {where_of(run)}"] += 1
        if (run.key, run.status) != (record.key, record.status):
            self.problems.append(f"{record.key}: expected itself in its body, saw {run.key}, {run.status}")
        chart = await self._chart(f"{run.queue}#{run.configuration.chart_hash}")
        if chart is None:
            self.unknown += 1
        else:
            charts.restore(chart, run.configuration.to_json())

    async def _chart(self, name: str) -> Chart | None:
        """The chart that an engine stored under "name@version#hash"."""
        if name not in self._charts:
            (record,) = await self._store.read(Scope.system(), [Key(SYSTEM_TENANT, "", CHART, name)])
            self._charts[name] = None if record is None else charts.compile(ChartDef.from_json(record.body))
        return self._charts[name]


async def _all_runs(store: Store) -> AsyncIterator[Record]:
    after: str | None = None
    while True:
        page = await store.scan(Scope.system(), Query(kind=RUN), after=after, limit=PAGE)
        for record in page.records:
            yield record
        if (after := page.next) is None:
            return


async def _compared(restored: OpenStore, store: OpenStore) -> AgainstDocument:
    """What a restore would take from `store`: the keys that would be others, and the events that would be gone."""
    keys = lost = 0
    newest: float | None = None
    async with (
        contextlib.aclosing(histories(restored)) as ours,
        contextlib.aclosing(histories(store)) as theirs,
        contextlib.aclosing(paired(ours, theirs)) as pairs,
    ):
        async for pair in pairs:
            if difference(pair) is None or (pair.target is not None and pair.target.key == LAST):
                continue
            keys += 1
            kept = {event.digest for event in pair.source.events} if pair.source is not None else set()
            for event in pair.target.events if pair.target is not None else ():
                if event.digest not in kept:
                    lost += 1
                    newest = max(newest or 0.0, event.at)
    return AgainstDocument(
        store=place_of(store), keys=keys, events=lost, newest_at=None if newest is None else iso(newest)
    )
