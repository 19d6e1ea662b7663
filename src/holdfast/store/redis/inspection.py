"""A whole Redis store read record by record, with its journal: for copying, checking, repairing and trimming it.

A snapshot of a tenant costs nothing when it begins: whatever changes from then on is kept aside as it was, once, by the
scripts that change it. Tenants are seen one after the other, as no change ever crosses them.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Mapping, Sequence

from holdfast.store.audit import History
from holdfast.store.copies import COPY, copy_prefix
from holdfast.store.journal import kept_from
from holdfast.store.mend import Survey, repair_of
from holdfast.store.protocol import history_order
from holdfast.store.records import Event, Key, Position, Query, Record, Scope
from holdfast.store.redis import finding
from holdfast.store.redis.calls import Calls, Texts, document, each
from holdfast.store.redis.places import key_at
from holdfast.store.redis.rows import event_from, header_of, meta_of, pairs, position_text, row_from
from holdfast.store.redis.writer import INCARNATION
from holdfast.store.rules import Stream, moment

PAGE_KEYS = 200
SNAPSHOT_LASTS_S = 3600
"""After so long a snapshot whose reader died is let go of."""


class RedisSnapshot:
    """A `Snapshot` of the tenants that there were when it began."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name
        self._last: dict[Stream, int] = {}
        self._tenants: list[str] = []
        self.incarnation = INCARNATION

    async def begin(self, *, now_s: float) -> RedisSnapshot:
        """See every tenant as it is now."""
        for tenant in await self._calls.tenants():
            prefix = self._calls.places.prefix(tenant)
            await self._calls.command("ZREMRANGEBYSCORE", f"{prefix}snapshots", "-inf", now_s - SNAPSHOT_LASTS_S)
            incarnation, numbers = await self._calls.script("view", tenant, self._name, str(now_s))
            self.incarnation = max(self.incarnation, int(incarnation or 0))
            for user, seq in pairs(numbers).items():
                self._last[tenant, user.decode()] = int(seq)
            self._tenants.append(tenant)
        return self

    async def end(self) -> None:
        """Keep nothing aside for it any more."""
        for tenant in self._tenants:
            prefix = self._calls.places.prefix(tenant)
            await self._calls.command("ZREM", f"{prefix}snapshots", self._name)
            await self._calls.command("UNLINK", f"{prefix}snapshot:{self._name}")

    async def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        walks = [self._of_tenant(tenant, after) for tenant in self._tenants]
        async for history in _merged(walks):
            yield history

    async def streams(self) -> dict[Stream, int]:
        return dict(self._last)

    async def _of_tenant(self, tenant: str, after: Key | None) -> AsyncIterator[History]:
        behind = ""
        while page := await self._page(tenant, behind):
            behind = page[-1]
            keys = [key_at(tenant, where) for where in page]
            wanted = [key for key in keys if after is None or history_order(key) > history_order(after)]
            for history in await histories(self._calls, wanted, snapshot=self._name):
                if history.row is not None or history.events or history.anchor:
                    yield history

    async def _page(self, tenant: str, behind: str) -> list[str]:
        """The next places, those included that have gone since."""
        prefix = self._calls.places.prefix(tenant)
        low = f"({behind}" if behind else "-"
        here = await self._calls.command(
            "ZRANGE", f"{prefix}places", low, "+", "BYLEX", "LIMIT", 0, PAGE_KEYS
        )  # fmt: skip
        found = {member.decode() for member in here}
        limit = max(found) if len(found) == PAGE_KEYS else None
        for member in await self._calls.command("HKEYS", f"{prefix}snapshot:{self._name}"):
            where = member.decode()
            if where > behind and (limit is None or where <= limit):
                found.add(where)
        return sorted(found)


async def histories(calls: Calls, keys: Sequence[Key], *, snapshot: str = "") -> list[History]:
    """What is held under each of `keys`, which are of one tenant."""
    if not keys:
        return []
    asked = document([(key.kind, key.user, key.id) for key in keys])
    found = []
    for key, (digest, meta, body, anchor, journal) in zip(
        keys, await calls.script("histories", keys[0].tenant, asked, snapshot), strict=True
    ):
        events: list[Event] = [event_from(key, position, pairs(fields)) for position, fields in journal]
        row = row_from(key, digest, meta, body)
        found.append(History(key=key, row=row, events=events, anchor=anchor.decode()))
    return found


async def load(calls: Calls, given: Sequence[History], *, incarnation: int = INCARNATION) -> None:
    """Put what `given` tells in place of what is under its keys."""
    by_tenant: dict[str, list[History]] = {}
    for history in given:
        by_tenant.setdefault(history.key.tenant, []).append(history)
    for tenant, its in by_tenant.items():
        await calls.know(tenant)
        texts = Texts()
        rows = [_loaded(history, texts) for history in its]
        asked = document({"incarnation": str(incarnation), "histories": rows})
        await calls.script("load", tenant, asked, *texts.given, writes=True)


async def adopt(calls: Calls, known: Mapping[Stream, int], incarnation: int) -> None:
    """Number on behind `known` and `incarnation`, where they are ahead, in every tenant."""
    tenants = {tenant for tenant, _ in known} | set(await calls.tenants())
    for tenant in sorted(tenants):
        await calls.know(tenant)
        numbers = [(user, str(seq)) for (its, user), seq in known.items() if its == tenant]
        await calls.script(
            "adopt", tenant, document({"incarnation": str(incarnation), "streams": numbers}), writes=True
        )


async def trim(calls: Calls, page: Sequence[History], *, before_s: float, keep: int) -> int:
    """Drop the events of some records that `journal.kept_from` lets go; how many went."""
    count = 0
    for history in page:
        cut = kept_from(history.events, before_s=before_s, keep=keep, is_gone=history.row is None)
        if cut:
            first = position_text(history.events[cut].position) if cut < len(history.events) else ""
            words = (history.key.kind, history.key.user, history.key.id, first, history.events[cut - 1].digest)
            count += await calls.script("trim", history.key.tenant, *words, writes=True)
    return count


async def repair(calls: Calls, found: Survey, *, at: float, incarnation: int) -> list[str]:
    """Mend what was found damaged as far as possible; in words. `at`: the store's time."""
    await adopt(calls, found.behind, incarnation)
    words = found.words
    for key in found.damaged:
        (history,) = await histories(calls, [key])
        number = int(await calls.command("HGET", f"{calls.places.prefix(key.tenant)}numbers", key.user) or 0) + 1
        copies = await _copies(calls, key)
        mended = repair_of(history, copies, at=moment(at), position=Position(incarnation, number))
        if mended is None:
            continue
        words.append(mended.words)
        if mended.history is not None:
            await load(calls, [mended.history])
            await adopt(calls, mended.streams, incarnation)
    return words


async def _copies(calls: Calls, original: Key) -> list[Record]:
    """What may be copies of a record, good or not."""
    query = Query(kind=COPY, prefix=copy_prefix(original))
    return await finding.scan(calls, Scope.of_user(original.tenant, original.user), query, None, 1000)


def _loaded(history: History, texts: Texts) -> tuple[object, ...]:
    key, row = history.key, history.row
    digest, meta, body = "", 0, 0
    if row is not None and row.record is not None:
        digest = row.record.digest
        meta, body = texts.add(meta_of(row.record, deleted=row.deleted)), texts.add(row.record.body)
    events = [
        (position_text(event.position), texts.add(header_of(event)), texts.add(event.body), texts.add(event.delta))
        for event in history.events
    ]
    return key.kind, key.user, key.id, digest, meta, body, history.anchor, events


async def _merged(walks: Sequence[AsyncIterator[History]]) -> AsyncIterator[History]:
    """Several ordered walks as one."""
    heads = [
        (history_order(head.key), number, head) for number, walk in enumerate(walks) if (head := await _next(walk))
    ]
    heapq.heapify(heads)
    while heads:
        _, number, history = heads[0]
        yield history
        following = await _next(walks[number])
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (history_order(following.key), number, following))


async def _next(walk: AsyncIterator[History]) -> History | None:
    return await anext(walk, None)


async def clear(calls: Calls) -> None:
    """Delete everything but what says that a restore is under way."""
    tenants = await calls.tenants()
    await each([_cleared(calls, tenant) for tenant in tenants])


async def _cleared(calls: Calls, tenant: str) -> None:
    prefix = calls.places.prefix(tenant)
    client = await calls.client()
    pattern = prefix.translate({ord(sign): f"\\{sign}" for sign in "*?[]\\"}) + "*"
    async for key in client.scan_iter(match=pattern, count=1000):
        if key != f"{prefix}meta".encode():
            await calls.command("UNLINK", key)
