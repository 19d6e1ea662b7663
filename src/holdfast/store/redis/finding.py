"""Queries and claims: indexes give candidates in order, and what `paging` says of each record decides.

An index may be a moment ahead of or behind what is then read of a record; the record counts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from holdfast.store import paging
from holdfast.store.paging import Place
from holdfast.store.records import SHARED, Claim, Key, Query, Record, Scope
from holdfast.store.redis.calls import Calls, document, each
from holdfast.store.redis.places import key_of
from holdfast.store.redis.rows import INDEXED, microseconds, row_from
from holdfast.store.rules import prefix_end

CHUNK = 200
"""Candidates looked at by one call."""
SORTED_HERE_MAX = 5000
"""Candidates that are fetched whole and sorted here, rather than found by a walk through all ids."""


async def tenants_of(calls: Calls, scope: Scope) -> list[str]:
    """The tenants that a scope reaches."""
    return await calls.tenants() if scope.tenant is None else [scope.tenant]


async def records(calls: Calls, keys: Sequence[Key]) -> list[Record | None]:
    """The records of keys of one tenant, as they are now."""
    if not keys:
        return []
    asked = document({"rows": [(key.kind, key.user, key.id, True) for key in keys], "streams": []})
    answer = await calls.timed(lambda: calls.script("read", keys[0].tenant, asked), lambda answer: answer[0])
    rows = [row_from(key, *fields) for key, fields in zip(keys, answer[2], strict=True)]
    return [None if row is None or row.deleted else row.record for row in rows]


async def scan(calls: Calls, scope: Scope, query: Query, start: Place | None, limit: int) -> list[Record]:
    """The first `limit` records behind `start`, in order."""
    parts = [_scanned(calls, scope, tenant, query, start, limit) for tenant in await tenants_of(calls, scope)]
    found = [record for part in await each(parts) for record in part]
    found.sort(key=lambda record: paging.place_of(query, record))
    return found[:limit]


async def candidates(calls: Calls, scope: Scope, claim: Claim) -> list[Record]:
    """What a claim may take, in the order in which it takes it: the first `limit`, if nobody else is quicker."""
    parts = [_claimable(calls, scope, tenant, claim) for tenant in await tenants_of(calls, scope)]
    found = [record for part in await each(parts) for record in part]
    found.sort(key=paging.claim_order)
    return found[: claim.limit]


async def _scanned(
    calls: Calls, scope: Scope, tenant: str, query: Query, start: Place | None, limit: int
) -> list[Record]:
    found: list[Record] = []
    ordered, members = await _members(calls, tenant, query, start)

    def is_wanted(record: Record) -> bool:
        is_behind = start is None or paging.place_of(query, record) > start
        return is_behind and scope.covers(record.key) and paging.is_match(query, record)

    async for page in members:
        keys = [key_of(tenant, query.kind, member) for member in page]
        found += [record for record in await records(calls, _visible(scope, keys)) if record and is_wanted(record)]
        if ordered and len(found) >= limit:
            break
    return found


async def _members(
    calls: Calls, tenant: str, query: Query, start: Place | None
) -> tuple[bool, AsyncIterator[list[str]]]:
    """Pages of members of the index that suits `query` best, and whether they come in the query's order."""
    prefix = calls.places.prefix(tenant)
    if query.by_due:
        first = "-inf" if start is None else str(microseconds(start[0]))
        last = "+inf" if query.due_until is None else str(microseconds(query.due_until))
        return True, _by_score(calls, f"{prefix}due:{query.kind}", first, last)
    for name, value in query.labels.items():
        if (query.kind, name) in INDEXED:
            return False, _all(calls, [f"{prefix}label:{query.kind}\0{name}\0{value}"])
    if query.statuses or query.owner:
        owners = None if query.owner is None else (query.owner,)
        buckets = await _buckets(calls, prefix, query.kind, query.statuses, owners)
        sizes = await each([calls.command("ZCARD", bucket) for bucket in buckets])
        if sum(sizes) <= SORTED_HERE_MAX:
            return False, _all(calls, buckets)
    return True, _by_text(calls, f"{prefix}ids:{query.kind}", query.prefix, "" if start is None else start[1])


async def _claimable(calls: Calls, scope: Scope, tenant: str, claim: Claim) -> list[Record]:
    prefix = calls.places.prefix(tenant)

    def is_wanted(record: Record) -> bool:
        return scope.covers(record.key) and paging.is_claimable(claim, record)

    found: list[Record] = []
    if claim.ids:
        pages = [_by_text(calls, f"{prefix}ids:{claim.kind}", id_, id_, exact=True) for id_ in dict.fromkeys(claim.ids)]
    else:
        buckets = await _buckets(calls, prefix, claim.kind, claim.statuses, claim.from_owners)
        last = "+inf" if claim.due_until is None else str(microseconds(claim.due_until))
        pages = [_by_score(calls, bucket, "-inf", last) for bucket in buckets]
    for walk in pages:
        mine: list[Record] = []
        async for page in walk:
            keys = [key_of(tenant, claim.kind, member) for member in page]
            mine += [record for record in await records(calls, _visible(scope, keys)) if record and is_wanted(record)]
            if not claim.ids and len(mine) >= claim.limit and _is_past(mine, claim.limit):
                break
        found += mine
    return found


def _is_past(found: list[Record], limit: int) -> bool:
    """Whether what comes next in the index cannot be among the first `limit`: equal dues are sorted by other fields."""
    due = [record.due for record in found]
    return due[-1] is None or due[-1] != due[limit - 1]


def _visible(scope: Scope, keys: list[Key]) -> list[Key]:
    return keys if scope.user is None else [key for key in keys if key.user in (scope.user, SHARED)]


async def _buckets(
    calls: Calls, prefix: str, kind: str, statuses: Sequence[str], owners: Sequence[str] | None
) -> list[str]:
    known = [member.decode().split("\0") for member in await calls.command("SMEMBERS", f"{prefix}buckets:{kind}")]
    return [
        f"{prefix}bucket:{kind}\0{status}\0{owner}"
        for status, owner in known
        if (not statuses or status in statuses) and (owners is None or owner in owners)
    ]


async def _by_score(calls: Calls, index: str, first: str, last: str) -> AsyncIterator[list[str]]:
    async for page in _pages(
        lambda start: calls.command("ZRANGE", index, first, last, "BYSCORE", "LIMIT", start, CHUNK)
    ):
        yield page


async def _by_text(
    calls: Calls, index: str, prefix: str, start: str, *, exact: bool = False
) -> AsyncIterator[list[str]]:
    """Members whose ids start with `prefix` (with `exact`: are it), from the id `start` on."""
    first = max(prefix, start)
    end = f"{prefix}\x01" if exact else prefix_end(prefix) if prefix else None
    low, high = (f"[{first}" if first else "-"), ("+" if end is None else f"({end}")
    if exact:
        low = f"[{prefix}\0"
    async for page in _pages(lambda start: calls.command("ZRANGE", index, low, high, "BYLEX", "LIMIT", start, CHUNK)):
        yield page


async def _all(calls: Calls, indexes: Sequence[str]) -> AsyncIterator[list[str]]:
    found: set[str] = set()
    for members in await each([calls.command("ZRANGE", index, 0, -1) for index in indexes]):
        found.update(member.decode() for member in members)
    ordered = sorted(found)
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


async def _pages(ask: Callable[[int], Any]) -> AsyncIterator[list[str]]:
    start = 0
    while members := await ask(start):
        yield [member.decode() for member in members]
        start += len(members)
