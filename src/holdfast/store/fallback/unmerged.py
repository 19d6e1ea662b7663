"""What outages left aside, for whoever decides about it: looked at, and dropped."""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import codec
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Delete, Key, Query, Record, Scope
from holdfast.store.fallback.rules import UNMERGED

LISTED_MAX = 1000
"""How many are looked at; what lies behind them is seen once they are dropped."""


class Unmerged(msgspec.Struct, frozen=True, kw_only=True):
    """One write of an outage that did not go in. `key`: of what was written, from version `expected` of it (0: none);
    the server had version `seen`. `value`: what was written, None where it was deleted (`is_deleted`). `why`, and the
    `paths` of the fields that both sides changed. `id`: what `drop` takes. `at`: epoch seconds."""

    id: str
    key: Key
    expected: int
    seen: int
    value: Any
    is_deleted: bool
    why: str
    paths: tuple[str, ...]
    at: float


async def unmerged(store: Store, scope: Scope) -> list[Unmerged]:
    """What was kept aside inside `scope`, the first 1000 by id."""
    page = await store.scan(scope, Query(kind=UNMERGED), limit=LISTED_MAX)
    return [_told(record) for record in page.records]


async def drop(store: Store, scope: Scope, key: Key, *, by: str) -> bool:
    """Forget what was kept aside under `key`, which was decided about; False where there is no such thing."""
    (record,) = await store.read(scope, [key])
    if record is None or key.kind != UNMERGED:
        return False
    change = Change(change_id=f"drop:{by}:{key.id}", writes=(Delete(key=key, expect=record.version),))
    await store.commit(scope, change)
    return True


def _told(record: Record) -> Unmerged:
    labels = record.labels
    return Unmerged(
        id=record.key.id,
        key=Key(record.key.tenant, record.key.user, labels.get("kind", ""), labels.get("id", "")),
        expected=int(labels.get("expected", "0")),
        seen=int(labels.get("seen", "0")),
        value=codec.decode(record.body),
        is_deleted=record.status == "deleted",
        why=labels.get("why", ""),
        paths=tuple(labels.get("paths", "").split()),
        at=record.written_at,
    )
