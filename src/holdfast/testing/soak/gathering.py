"""What a store says once the dust has settled: its runs with their journals, and whether it is whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator

from holdfast import codec
from holdfast.store.contract.protocol import OpenStore, Store
from holdfast.store.contract.records import Event, Key, Position, Query, Record, Scope
from holdfast.testing.soak import shapes
from holdfast.testing.soak.rules import Move, Seen
from holdfast.workflow.model.run import RUN, decode_run

PAGE = 500
UNSETTLED = ("running", "suspect", "paused", "failed", "poisoned")


async def is_settled(store: Store) -> bool:
    """Whether every run has ended or waits for what nobody gives."""
    moving = Query(kind=RUN, statuses=UNSETTLED)
    waiting = Query(kind=RUN, statuses=("waiting",), labels={shapes.ANSWERED: "yes"})
    timers = Query(kind=RUN, statuses=("waiting",), due_until=store.now_s() + 3600)
    return not any([(await store.scan(Scope.system(), query, limit=1)).records for query in (moving, waiting, timers)])


async def seen_runs(store: OpenStore) -> tuple[dict[str, Seen], list[str]]:
    """Every run by its ticket, with its journal; and the holes in the streams of their users."""
    records = [record async for record in _runs(store)]
    moves: dict[Key, list[Move]] = defaultdict(list)
    gaps: list[str] = []
    for stream in sorted({(record.key.tenant, record.key.user) for record in records}):
        last: Position | None = None
        async for event in _stream(store, stream):
            if last is not None and event.position.seq != last.seq + 1:
                gaps.append(f"stream of {stream[1]}: expected event {last.seq + 1}, saw {event.position.seq}")
            last = event.position
            if event.name == "transition":
                moves[event.key].append(_move(event))
    return {seen.ticket: seen for seen in (_seen(record, moves[record.key]) for record in records)}, gaps


async def _runs(store: Store) -> AsyncIterator[Record]:
    after: str | None = None
    while True:
        page = await store.scan(Scope.system(), Query(kind=RUN), after=after, limit=PAGE)
        for record in page.records:
            yield record
        if (after := page.next) is None:
            return


async def _stream(store: Store, stream: tuple[str, str]) -> AsyncIterator[Event]:
    after: Position | None = None
    while page := await store.events(Scope.system(), stream=stream, after=after, limit=PAGE):
        for event in page:
            yield event
        after = page[-1].position


def _move(event: Event) -> Move:
    body = codec.decode(event.body)
    return Move(body["from"], body["to"], body["trigger"], event.version)


def _seen(record: Record, moves: list[Move]) -> Seen:
    run = decode_run(record.body)
    return Seen(
        ticket=run.ticket_id,
        id=run.id,
        parent=run.parent.id if run.parent is not None else "",
        workflow=run.workflow,
        user=run.user,
        status=run.status,
        outcome=run.outcome,
        leaves={path: leaf.visit for path, leaf in run.leaves.items()},
        data=codec.decode(run.data),
        moves=moves,
    )
