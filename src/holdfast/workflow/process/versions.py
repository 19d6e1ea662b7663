"""New code and old runs: what happens at start to runs that another definition wrote.

Same version and another chart: adopted where each run's place is legal in the new one, else the engine refuses to
start and lists the runs. Another version: left to the processes that know it, unless a mapping takes it over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec.structs import replace

from holdfast import chart as charts
from holdfast.chart import ChartDef
from holdfast.errors import Conflict, Corrupt, Fenced, HoldfastError, InvalidDefinition, InvalidInput
from holdfast.logs import get_logger
from holdfast.store.contract.records import Query, Record, Scope
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions import rules
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.outline import encode_outline, outline_key, outline_of
from holdfast.workflow.model.run import ACTIVE, CHART, RUN, chart_label, queue_of, spec_text
from holdfast.workflow.process.runtime import Runtime, Stored, chart_key

log = get_logger("holdfast.versions")

LISTED_MAX = 20
"""How many runs a refusal names."""


async def keep_charts(runtime: Runtime) -> None:
    """Store every workflow known here: its chart by name, version and hash, and the outline of its newest code by name
    and version, by which processes without that code read and judge its runs."""
    for built in runtime.workflows.values():
        await runtime.keep_chart(built)
        await runtime.keep(outline_key(built.name, built.version), encode_outline(outline_of(built)))


async def reconcile(runtime: Runtime) -> None:
    """Check every live run of other code against the workflows known here, and migrate those with a mapping.

    Raises InvalidDefinition, listing the runs, where one would stand in a state that does not exist any more.
    """
    refused: list[str] = []
    for built in runtime.workflows.values():
        for version in sorted({built.version, *built.migrations}):
            if version != built.version and queue_of(built.name, version) in runtime.workflows:
                continue
            async for record in _others(runtime, built, version):
                try:
                    stored = Stored.of(record)
                except Corrupt as error:  # one unreadable run must not keep all others from running
                    log.error("run cannot be read", run=record.key.id, error=error.message)
                    continue
                problem = await _take_over(runtime, built, stored)
                if problem:
                    refused.append(problem)
    if refused:
        more = f" and {len(refused) - LISTED_MAX} more" if len(refused) > LISTED_MAX else ""
        raise InvalidDefinition(
            f"{len(refused)} live runs stand where this code has no state: {'; '.join(refused[:LISTED_MAX])}{more}. "
            "Keep the state, or map it: workflow.migrate(from_version, {old: new})",
            runs=refused,
        )


async def _take_over(runtime: Runtime, built: Built, stored: Stored) -> str | None:
    """Adopt or migrate one run; the problem in words where it cannot be."""
    run = stored.run
    states = dict(built.migrations.get(run.version, {}))
    try:
        built.adopt(run, states)
    except HoldfastError as error:
        return f"{run.id} ({run.ticket_id}, user {run.user}) in {', '.join(map(spec_text, run.leaves))}: {error}"
    is_migration = bool(states) or run.version != built.version
    if stored.owner or not is_migration:
        return None  # adopted by its actor when it is next taken up; an owned one belongs to a process that knows it
    moved = on.Moved(version=built.version, states=states)
    decision = rules.decide(built, run, moved, now=runtime.store.now_s())
    try:
        await runtime.commit_decision(stored, decision, owner="", guard=False, raise_epoch=True)
    except (Conflict, Fenced):
        return None
    return None


async def _others(runtime: Runtime, built: Built, version: int) -> AsyncIterator[Record]:
    """The live runs of `version` that may not be where `built` can take them over as they are.

    Each chart is kept before the first run is in it, so the charts tell which runs to look for: none of those in a
    chart all of whose states are still there, however many they are.
    """
    query = Query(kind=RUN, statuses=ACTIVE, queues=(queue_of(built.name, version),))
    if version != built.version:
        async for record in _all(runtime, query):
            yield record
        return
    prefix = chart_key(built.name, built.version, "").id
    async for chart in _all(runtime, Query(kind=CHART, prefix=prefix)):
        chart_hash = chart.key.id.removeprefix(prefix)
        if chart_hash != built.chart.hash and (version in built.migrations or not _adopts_all(built, chart)):
            async for record in _all(runtime, replace(query, labels=chart_label(chart_hash))):
                yield record


def _adopts_all(built: Built, chart: Record) -> bool:
    try:
        return charts.adopts_all(built.chart, ChartDef.from_json(chart.body))
    except InvalidInput:  # written by a release whose charts have more to them
        return False


async def _all(runtime: Runtime, query: Query) -> AsyncIterator[Record]:
    after: str | None = None
    while True:
        page = await runtime.store.scan(Scope.system(), query, after=after, limit=500)
        for record in page.records:
            yield record
        if page.next is None:
            return
        after = page.next
