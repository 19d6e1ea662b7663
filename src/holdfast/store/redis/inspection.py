"""A whole Redis store read record by record, with its journal: for copying, checking, repairing and trimming it.

A snapshot of a tenant costs nothing when it begins: whatever changes from then on is kept aside as it was, once, by the
scripts that change it. Tenants are seen one after the other, as no change ever crosses them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from holdfast.clock import monotonic_s
from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import Event, Key, Position, Query, Record, Scope
from holdfast.store.decisions.rules import moment
from holdfast.store.redis import finding
from holdfast.store.redis.calls import Calls, Texts, document
from holdfast.store.redis.places import INCARNATION, key_at, place
from holdfast.store.redis.rows import event_from, header_of, meta_of, pairs, position_text, row_from
from holdfast.store.rows.copies import copy_kind, copy_prefix
from holdfast.store.rows.journal import kept_from
from holdfast.store.upkeep.mend import Survey, repair_of

PAGE_KEYS = 200
PAGE_BYTES = 4 * 1024 * 1024
"""Bound on what one script answers with or is given, but for a single record and its journal."""
SNAPSHOT_LASTS_S = 3600
"""After so long without a sign of life a snapshot's reader counts as dead, and nothing is kept aside any more."""
LIFE_SIGN_EVERY_S = 60.0


class RedisSnapshot:
    """A `Snapshot` of the tenants that there were when it began."""

    def __init__(self, calls: Calls, name: str) -> None:
        self._calls = calls
        self._name = name
        self._last: dict[Stream, int] = {}
        self._tenants: list[str] = []
        self._alive_at_s = monotonic_s()
        self.incarnation = INCARNATION

    async def begin(self) -> RedisSnapshot:
        """See every tenant as it is now."""
        self.incarnation = await self._calls.incarnation()
        for tenant in await self._calls.tenants():
            self._tenants.append(tenant)
            lasts_us = str(SNAPSHOT_LASTS_S * 1_000_000)
            incarnation, numbers = await self._calls.script("view", tenant, self._name, lasts_us)
            self.incarnation = max(self.incarnation, int(incarnation or 0))
            for user, seq in pairs(numbers).items():
                self._last[tenant, user.decode()] = int(seq)
        return self

    async def end(self) -> None:
        """Keep nothing aside for it any more."""
        for tenant in self._tenants:
            prefix = self._calls.places.prefix(tenant)
            await self._calls.command("ZREM", f"{prefix}snapshots", self._name)
            await self._calls.command("UNLINK", f"{prefix}snapshot:{self._name}")
            await self._calls.command("UNLINK", f"{prefix}snapshot-places:{self._name}")

    async def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        """Kind by kind, and tenant by tenant in each, so that one page at a time is in memory."""
        last = {tenant: _before(tenant, after) for tenant in self._tenants}
        heads = {tenant: await self._page(tenant, last[tenant], 1) for tenant in self._tenants}
        while kinds := {_kind_of(head[0]) for head in heads.values() if head}:
            kind = min(kinds)
            for tenant in self._tenants:
                while (head := heads[tenant]) and _kind_of(head[0]) == kind:
                    page = await self._page(tenant, last[tenant])
                    mine = [where for where in page if _kind_of(where) == kind]
                    assert mine, "what a snapshot saw is there, or kept aside"
                    last[tenant] = mine[-1]
                    async for history in self._read(tenant, mine):
                        yield history
                    heads[tenant] = page[len(mine) :] or await self._page(tenant, last[tenant], 1)

    async def streams(self) -> dict[Stream, int]:
        return dict(self._last)

    async def _page(self, tenant: str, behind: str, limit: int = PAGE_KEYS) -> list[str]:
        """The next places behind one, those included that have gone since."""
        await self._give_sign_of_life()
        found = await self._calls.script("page", tenant, self._name, behind, str(limit))
        return sorted({member.decode() for part in found for member in part})[:limit]

    async def _read(self, tenant: str, page: Sequence[str]) -> AsyncIterator[History]:
        keys = [key_at(tenant, where) for where in page]
        while keys:
            found = await _some_histories(self._calls, keys, snapshot=self._name)
            for history in found:
                if history.row is not None or history.events or history.anchor:
                    yield history
            del keys[: len(found)]

    async def _give_sign_of_life(self) -> None:
        """To all tenants: one may be long in coming."""
        if monotonic_s() - self._alive_at_s < LIFE_SIGN_EVERY_S:
            return
        self._alive_at_s = monotonic_s()
        for tenant in self._tenants:
            await self._calls.script("page", tenant, self._name, "", "0")


def _kind_of(where: str) -> str:
    return where.partition("\0")[0]


def _before(tenant: str, after: Key | None) -> str:
    """The place of a tenant behind which comes what comes behind `after` in the order of histories."""
    if after is None:
        return ""
    if tenant == after.tenant:
        return place(after)
    return f"{after.kind}\0" if tenant > after.tenant else f"{after.kind}\x01"


async def histories(calls: Calls, keys: Sequence[Key]) -> list[History]:
    """What is held under each of `keys`, which are of one tenant."""
    found: list[History] = []
    while len(found) < len(keys):
        found += await _some_histories(calls, keys[len(found) :])
    return found


async def _some_histories(calls: Calls, keys: Sequence[Key], *, snapshot: str = "") -> list[History]:
    """What is held under the first of `keys`: as many as one answer should hold."""
    asked = document([(key.kind, key.user, key.id) for key in keys])
    answer = await calls.script("histories", keys[0].tenant, asked, snapshot, str(PAGE_BYTES))
    found = []
    for key, (digest, meta, body, anchor, journal) in zip(keys, answer, strict=False):
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
    begins_in = int(await calls.command("HGET", calls.places.facts, "incarnation") or 0)
    await calls.command("HSET", calls.places.facts, "incarnation", max(begins_in, incarnation))
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
    query = Query(kind=copy_kind(original), prefix=copy_prefix(original))
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
