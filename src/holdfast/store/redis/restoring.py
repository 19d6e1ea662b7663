"""A backup put in place of everything. While that goes on, and if it is cut off, every call is refused.

A mark on each tenant, those of the backup included, shuts out who is there; one on the store, who would make a new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast import faults
from holdfast.cancellation import heeding_cancellation
from holdfast.store.contract.history import History
from holdfast.store.contract.protocol import Snapshot
from holdfast.store.redis import inspection
from holdfast.store.redis.calls import Calls, each
from holdfast.store.redis.inspection import PAGE_BYTES, PAGE_KEYS
from holdfast.store.redis.places import INCARNATION
from holdfast.store.sqlite import archive

WHY = "restoring"


async def restore(calls: Calls, backup: Snapshot, tenants: Sequence[str]) -> None:
    """Replace everything by `backup`, whose tenants are given, in a new incarnation."""
    incarnation = await _incarnation(calls)
    facts = calls.places.facts
    await calls.command("HSET", facts, WHY, 1)  # first, so that no tenant is made that is not shut
    shut = sorted({*tenants, *await calls.tenants()})
    for tenant in shut:
        await calls.know(tenant)
        await calls.command("HSET", f"{calls.places.prefix(tenant)}meta", "closed", WHY)
    for tenant in shut:
        await _clear(calls, tenant)
    async for page in archive.pages_of(backup):
        for part in _parts(page):
            await inspection.load(calls, part)
            faults.point("restore-page")
    await inspection.adopt(calls, await backup.streams(), max(incarnation, backup.incarnation) + 1)
    for tenant in shut:
        await calls.command("HDEL", f"{calls.places.prefix(tenant)}meta", "closed")
    await calls.command("HDEL", facts, WHY)


async def is_empty(calls: Calls) -> bool:
    """Whether no tenant has a record or a journal."""
    prefixes = [calls.places.prefix(tenant) for tenant in await calls.tenants()]
    return not any(await each([calls.command("ZCARD", f"{prefix}places") for prefix in prefixes]))


async def _incarnation(calls: Calls) -> int:
    """The latest that anything here is in."""
    prefixes = [calls.places.prefix(tenant) for tenant in await calls.tenants()]
    asked = [calls.command("HGET", f"{prefix}meta", "incarnation") for prefix in prefixes]
    numbers = await each([*asked, calls.command("HGET", calls.places.facts, "incarnation")])
    return max([INCARNATION, *(int(number) for number in numbers if number)])


async def _clear(calls: Calls, tenant: str) -> None:
    """Delete all keys of a tenant but the one that says that a restore is under way."""
    prefix = calls.places.prefix(tenant)
    client = await calls.client()
    pattern = prefix.translate({ord(sign): f"\\{sign}" for sign in "*?[]\\"}) + "*"
    page: list[bytes] = []
    with heeding_cancellation():
        async for key in client.scan_iter(match=pattern, count=1000):
            if key != f"{prefix}meta".encode():
                page.append(key)
            if len(page) == PAGE_KEYS:
                await calls.command("UNLINK", *page)
                page = []
    if page:
        await calls.command("UNLINK", *page)


def _parts(page: Sequence[History]) -> Iterator[list[History]]:
    """`page` in parts that one script takes at a time."""
    part: list[History] = []
    size = 0
    for history in page:
        part.append(history)
        row = history.row
        size += len(row.record.body) if row is not None and row.record is not None else 0
        size += sum(len(event.body) + len(event.delta) for event in history.events)
        if size > PAGE_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
