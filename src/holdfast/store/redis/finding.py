"""Queries and claims: indexes give candidates in order, and what `paging` says of each record decides.

An index may be a moment ahead of or behind what is then read of a record; the record counts. A walk goes on behind the
last member that it saw, so what is removed before that place meanwhile makes it miss nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from holdfast.store.contract.records import SHARED, Claim, Key, Query, Record, Scope
from holdfast.store.decisions import paging
from holdfast.store.decisions.paging import Place
from holdfast.store.decisions.rules import TIME_S_MAX, prefix_end
from holdfast.store.redis.calls import Calls, document, each
from holdfast.store.redis.places import key_of
from holdfast.store.redis.rows import INDEXED, microseconds, row_from

CHUNK = 200
"""Candidates looked at by one call."""
SORTED_HERE_MAX = 5000
"""Candidates that are fetched whole and sorted here, rather than found by a walk through all ids."""

Walk = AsyncIterator[list[str]]
"""Members of an index in its order, some at a time."""


async def tenants_of(calls: Calls, scope: Scope) -> list[str]:
    """The tenants that a scope reaches."""
    return await calls.tenants() if scope.tenant is None else [scope.tenant]


async def records(calls: Calls, keys: Sequence[Key]) -> list[Record | None]:
    """The records of keys of one tenant, as they are now."""
    if not keys:
        return []
    found = await calls.rows(keys[0].tenant, [(key.kind, key.user, key.id) for key in keys])
    rows = [row_from(key, *fields) for key, fields in zip(keys, found, strict=True)]
    return [None if row is None or row.deleted else row.record for row in rows]


async def scan(calls: Calls, scope: Scope, query: Query, start: Place | None, limit: int) -> list[Record]:
    """The first `limit` records behind `start`, in order."""
    parts = [_scanned(calls, scope, tenant, query, start, limit) for tenant in await tenants_of(calls, scope)]
    found = _once_each(record for part in await each(parts) for record in part)
    found.sort(key=lambda record: paging.place_of(query, record))
    return found[:limit]


async def candidates(calls: Calls, scope: Scope, claim: Claim) -> list[Record]:
    """What a claim may take, in the order in which it takes it: the first `limit`, if nobody else is quicker."""
    parts = [_claimable(calls, scope, tenant, claim) for tenant in await tenants_of(calls, scope)]
    found = _once_each(record for part in await each(parts) for record in part)
    found.sort(key=paging.claim_order)
    return found[: claim.limit]


def _once_each(found: Iterable[Record]) -> list[Record]:
    """What was met twice, since it moved from one index to another meanwhile, as it was the last time."""
    return list({record.key: record for record in found}.values())


async def _scanned(
    calls: Calls, scope: Scope, tenant: str, query: Query, start: Place | None, limit: int
) -> list[Record]:
    def is_wanted(record: Record) -> bool:
        return (start is None or paging.place_of(query, record) > start) and paging.is_match(query, record)

    found: list[Record] = []
    for walk in await _walks(calls, tenant, query, start, limit):
        found += await _walked(calls, scope, tenant, query.kind, walk, is_wanted, lambda its: len(its) >= limit)
    return found


async def _claimable(calls: Calls, scope: Scope, tenant: str, claim: Claim) -> list[Record]:
    def is_wanted(record: Record) -> bool:
        return paging.is_claimable(claim, record)

    if claim.ids:
        walk = _named(calls, tenant, claim.kind, claim.ids)
        return await _walked(calls, scope, tenant, claim.kind, walk, is_wanted, lambda its: False)
    last = "+inf" if claim.due_until is None else str(microseconds(claim.due_until))
    buckets = await _buckets(
        calls, tenant, claim.kind, claim.statuses, claim.from_owners, last=last, count=max(CHUNK, claim.limit)
    )
    assert buckets is not None, "no bound on the total was given"
    found: list[Record] = []
    for walk in buckets:
        found += await _walked(
            calls, scope, tenant, claim.kind, walk, is_wanted, lambda its: _is_past(its, claim.limit)
        )  # fmt: skip
    return found


async def _walked(
    calls: Calls,
    scope: Scope,
    tenant: str,
    kind: str,
    walk: Walk,
    is_wanted: Callable[[Record], bool],
    is_enough: Callable[[list[Record]], bool],
) -> list[Record]:
    """The records of a walk that are wanted, until there are enough."""
    found: list[Record] = []
    async for page in walk:
        keys = [key_of(tenant, kind, member) for member in page]
        if scope.user is not None:
            keys = [key for key in keys if key.user in (scope.user, SHARED)]
        for start in range(0, len(keys), CHUNK):
            read = await records(calls, keys[start : start + CHUNK])
            found += [record for record in read if record is not None and is_wanted(record)]
            if is_enough(found):
                return found
    return found


def _is_past(found: list[Record], limit: int) -> bool:
    """Whether what comes next in the index cannot be among the first `limit`: equal dues are sorted by other fields."""
    if len(found) < limit:
        return False
    return found[-1].due is None or found[-1].due != found[limit - 1].due


async def _walks(calls: Calls, tenant: str, query: Query, start: Place | None, limit: int) -> list[Walk]:
    """Walks through the indexes that suit `query` best, each in the query's order."""
    owners = () if query.owner is None else (query.owner,)
    is_narrow = bool(query.statuses or query.owner)
    if query.by_due:
        first = "-inf" if start is None else str(microseconds(start[0]))
        last = str(microseconds(TIME_S_MAX if query.due_until is None else query.due_until))
        if is_narrow:
            count = max(CHUNK, min(limit, SORTED_HERE_MAX))
            buckets = await _buckets(
                calls, tenant, query.kind, query.statuses, owners, first=first, last=last, count=count
            )
            assert buckets is not None, "no bound on the total was given"
            return buckets
        return [_by_score(calls, tenant, f"due:{query.kind}", first, last)]
    for name, value in query.labels.items():
        if (query.kind, name) in INDEXED:
            members = await calls.ask(tenant, "ZRANGE", f"label:{query.kind}\0{name}\0{value}", 0, -1)
            return [_sorted([_text(member) for member in members], query, tenant, start)]
    if is_narrow:
        found = await _buckets(calls, tenant, query.kind, query.statuses, owners, total_max=SORTED_HERE_MAX)
        if found is not None:
            members = [member for walk in found async for page in walk for member in page]
            return [_sorted(members, query, tenant, start)]
    return [_by_text(calls, tenant, f"ids:{query.kind}", *_between(query.prefix, tenant, start))]


def _between(prefix: str, tenant: str, start: Place | None) -> tuple[str, str]:
    """The bounds of the members whose ids start with `prefix` and come behind `start`, of one tenant."""
    low = f"[{prefix}" if prefix else "-"
    end = prefix_end(prefix) if prefix else None
    if start is not None and start[1] >= prefix:
        _, id_, its_tenant, user = start
        low = f"[{id_}\0" if tenant > its_tenant else f"[{id_}\x01"
        if tenant == its_tenant:
            low = f"({id_}\0{user}"
    return low, "+" if end is None else f"({end}"


async def _sorted(members: Sequence[str], query: Query, tenant: str, start: Place | None) -> Walk:
    """Members in the order of their ids, those behind `start`."""
    keys = [key_of(tenant, query.kind, member) for member in sorted(set(members))]
    places = [(0.0, key.id, tenant, key.user) for key in keys]
    behind = [key for key, place in zip(keys, places, strict=True) if start is None or place > start]
    for first in range(0, len(behind), CHUNK):
        yield [f"{key.id}\0{key.user}" for key in behind[first : first + CHUNK]]


async def _named(calls: Calls, tenant: str, kind: str, ids: Sequence[str]) -> Walk:
    """The members of some ids, whoever's they are."""
    asked = [
        calls.ask(tenant, "ZRANGE", f"ids:{kind}", f"[{id_}\0", f"({id_}\x01", "BYLEX") for id_ in dict.fromkeys(ids)
    ]
    yield [_text(member) for members in await each(asked) for member in members]


async def _buckets(
    calls: Calls,
    tenant: str,
    kind: str,
    statuses: Sequence[str],
    owners: Sequence[str],
    *,
    first: str = "-inf",
    last: str = "+inf",
    count: int = SORTED_HERE_MAX,
    total_max: int | None = None,
) -> list[Walk] | None:
    """A walk through each bucket of these statuses and owners (none: of all), between two scores, by due or waiting
    time. Their first `count` members are of one moment. None where all together hold more than `total_max`."""
    asked: dict[str, Any] = {"kind": kind, "statuses": statuses, "owners": owners, "low": first, "high": last}
    bound = {} if total_max is None else {"total_max": total_max}
    found = await calls.script("select", tenant, document({**asked, "count": count, **bound}))
    if found is None:
        return None
    return [_by_score(calls, tenant, _text(name), first, last, seen=seen, count=count) for name, seen in found]


async def _by_score(
    calls: Calls,
    tenant: str,
    index: str,
    first: str,
    last: str,
    *,
    seen: Sequence[bytes] | None = None,
    count: int = CHUNK,
) -> Walk:
    """Members between two scores, some at a time; `seen` is what the first call for `count` of them has answered."""
    ties: set[bytes] = set()
    while True:
        if seen is None:
            seen = await calls.ask(
                tenant, "ZRANGE", index, first, last, "BYSCORE", "LIMIT", 0, count, "WITHSCORES"
            )  # fmt: skip
        members, scores = seen[::2], seen[1::2]
        yield [_text(member) for member in members if member not in ties]
        if len(members) < count:
            return
        # Those of the last score come once more, and are passed over, for more may have it.
        ties = {member for member, score in zip(members, scores, strict=True) if score == scores[-1]}
        first, count, seen = scores[-1].decode(), CHUNK + len(ties), None


async def _by_text(calls: Calls, tenant: str, index: str, low: str, high: str) -> Walk:
    """Members between two texts, some at a time."""
    while True:
        members = await calls.ask(tenant, "ZRANGE", index, low, high, "BYLEX", "LIMIT", 0, CHUNK)
        yield [_text(member) for member in members]
        if len(members) < CHUNK:
            return
        low = f"({_text(members[-1])}"


def _text(data: bytes) -> str:
    return data.decode()
