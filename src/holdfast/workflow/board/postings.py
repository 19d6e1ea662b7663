"""What hangs on the board in the store: what each process says of its breakers, who probes, and what people ordered.

One kind of record for all three, so that one scan reads them; and a bell, whose version says whether anything is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import Conflict, InvalidInput, NotFound, Unavailable
from holdfast.logs import get_logger
from holdfast.names import check_id
from holdfast.resilience.quorum import Statement, Turn
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    ABSENT,
    SYSTEM_TENANT,
    Change,
    Delete,
    Event,
    Key,
    NewEvent,
    Put,
    Query,
    Record,
    Scope,
)
from holdfast.store.rows import journal
from holdfast.store.writing.outcome import commit_surely
from holdfast.workflow.model.run import PROCESS

BOARD = "board"
SAYS, PROBES, ORDERED = "process/", "probe/", "order/"
PAGE = 1000
ATTEMPTS_MAX = 20
Action = Literal["forced_open", "disabled", "metrics_only", "release", "wake"]
LASTING = ("forced_open", "disabled", "metrics_only")

log = get_logger("holdfast.breakers")


class Order(msgspec.Struct, frozen=True):
    """What somebody wants of a breaker, in every process. A lasting one holds for processes that start later, too."""

    name: str
    action: Action
    by: str
    reason: str
    at: float


class Standing(NamedTuple):
    """An order as it hangs there: a later one has a higher version."""

    order: Order
    version: int


class Postings(NamedTuple):
    """All that hangs there. `versions`: of each record by its id; `living`: the processes whose lease is good."""

    statements: Mapping[str, Statement] = {}
    turns: Mapping[str, Turn] = {}
    orders: Mapping[str, Standing] = {}
    versions: Mapping[str, int] = {}
    living: frozenset[str] = frozenset()


def board_key(id: str) -> Key:
    """Where a posting is kept."""
    return Key(SYSTEM_TENANT, "", BOARD, id)


BELL = board_key("bell")


async def read_postings(store: Store) -> Postings:
    """All that hangs there now."""
    statements: dict[str, Statement] = {}
    turns: dict[str, Turn] = {}
    orders: dict[str, Standing] = {}
    records = await _all(store, BOARD)
    for record in records:
        try:
            _sort(record, statements, turns, orders)
        except InvalidInput as error:  # of a newer version, or damaged: one that cannot be read must not silence all
            log.warning("posting cannot be read", posting=record.key.id, error=error.message)
    now = store.now_s()
    living = [record.key.id for record in await _all(store, PROCESS) if record.due is None or record.due > now]
    versions = {record.key.id: record.version for record in records}
    return Postings(statements, turns, orders, versions, frozenset(living))


def _sort(
    record: Record, statements: dict[str, Statement], turns: dict[str, Turn], orders: dict[str, Standing]
) -> None:
    """Put what hangs there to its like. Raises InvalidInput where it cannot be read."""
    id = record.key.id
    if id.startswith(SAYS):
        statements[id.removeprefix(SAYS)] = codec.decode(record.body, Statement, what=f"board {id}")
    elif id.startswith(PROBES):
        turns[id.removeprefix(PROBES)] = codec.decode(record.body, Turn, what=f"board {id}")
    elif id.startswith(ORDERED):
        order = codec.decode(record.body, Order, what=f"board {id}")
        orders[order.name] = Standing(order, record.version)


async def post(
    store: Store,
    change_id: str,
    id: str,
    value: object,
    *,
    expect: int,
    what: str,
    facts: Mapping[str, Any],
    forget: Mapping[str, int] | None = None,
) -> int:
    """Hang `value` up at `id`, where version `expect` hangs, and ring the bell; its new version.

    The journal keeps `what` happened, and `facts` about it. `forget`: what is taken down with it, by id and version.
    Raises Conflict where it has moved on.
    """
    key, body = board_key(id), codec.encode(value, what=f"board {id}")
    event = NewEvent(
        key=key,
        name=what,
        body=codec.encode(dict(facts), what=f"board {id}"),
        delta=journal.delta(None, codec.decode(body), expect + 1),
    )
    gone = [Delete(key=board_key(each), expect=version) for each, version in (forget or {}).items()]
    writes: tuple[Put | Delete, ...] = (
        Put(key=key, body=body, expect=expect),
        Put(key=BELL, body=b"{}", expect=None),
        *gone,
    )
    change = Change(change_id=change_id, writes=writes, events=(event,))
    return (await commit_surely(store, Scope.system(), change)).versions[0]


async def give_order(store: Store, change_id: str, name: str, action: Action, *, by: str, reason: str) -> Order:
    """Hang up what `by` wants of the breaker `name`, for every process to take up.

    Raises NotFound where no process told of such a dependency, InvalidInput for an order without a reason where one
    is needed.
    """
    check_id("by", by)
    if action in LASTING and not reason.strip():
        raise InvalidInput(f"breaker {name}: expected a reason to force it, for whoever finds it so; say --reason")
    for attempt in range(ATTEMPTS_MAX):
        postings = await read_postings(store)
        known = {node.name: node for each in postings.statements.values() for node in each.nodes}
        if name not in known:
            there = ", ".join(sorted(known)) or "none, for no engine with dependencies has worked on this store"
            raise NotFound(f"breaker {name}: there is no such dependency; there are: {there}")
        if action == "forced_open" and known[name].carries_board:
            raise InvalidInput(
                f"breaker {name}: it cannot be forced open, for its server is where orders are read: nobody would hear "
                "that it is released; to stop all work, stop the processes"
            )
        order = Order(name, action, by, reason, store.now_s())
        id = ORDERED + name
        facts = {"breaker": name, "action": action, "by": by, "reason": reason}
        try:
            await post(
                store,
                f"{change_id}:{attempt}",
                id,
                order,
                expect=postings.versions.get(id, ABSENT),
                what="breaker ordered",
                facts=facts,
            )
        except Conflict:
            continue  # somebody else ordered something meanwhile
        return order
    raise Unavailable(f"breaker {name}: others ordered something {ATTEMPTS_MAX} times meanwhile; try again")


async def history_of(store: Store, name: str, *, limit: int = PAGE) -> list[Event]:
    """What was ordered, probed and told of the breaker `name`, oldest first; of each record that tells of it the first
    `limit` rows that the journal still has."""
    postings = await read_postings(store)
    ids = [ORDERED + name, PROBES + name, *(SAYS + process for process in postings.statements)]
    found: list[Event] = []
    for id in ids:
        events = await store.events(Scope.system(), record=board_key(id), limit=limit)
        found += [event for event in events if _tells_of(event, name)]
    return sorted(found, key=lambda event: event.at)


def _tells_of(event: Event, name: str) -> bool:
    facts = codec.decode(event.body)
    return facts.get("breaker") == name or name in facts.get("moved", {}) or name in facts.get("orders", {})


async def _all(store: Store, kind: str) -> list[Record]:
    found: list[Record] = []
    after: str | None = None
    while True:
        page = await store.scan(Scope.system(), Query(kind=kind), after=after, limit=PAGE)
        found.extend(page.records)
        if page.next is None:
            return found
        after = page.next
