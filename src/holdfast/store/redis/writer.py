"""A batch becomes one script per tenant: read what it depends on, judge it, write where all of that is still so.

Who else writes in between makes the script answer that something has moved, and we read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from holdfast import faults
from holdfast.errors import CommitUnknown, Corrupt, Unavailable
from holdfast.store.contract.history import Row, Stream
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Change, Key
from holdfast.store.decisions.rules import Judgement, judge, keys_of, prefix_end, streams_of, wholes
from holdfast.store.redis.calls import Calls, Texts, document
from holdfast.store.redis.rows import header_of, is_unreadable, meta_of, position_text, row_from
from holdfast.store.servers.clock import ServerTime
from holdfast.store.writing.committer import Batch, Outcome, Poison
from holdfast.store.writing.delivery import Waiter
from holdfast.store.writing.intake import Entry

RACES_MAX = 50
"""How often one batch may find that something has moved, before its senders are told to try again."""


class Known(NamedTuple):
    """What a batch is judged against, each row's digest, and each stream's number as it is stored."""

    rows: dict[Key, Row]
    digests: dict[Key, str]
    streams: dict[Stream, int]
    incarnation: int


class BatchWriter:
    """Commits batches for the one `Committer` of a process."""

    def __init__(self, calls: Calls, time: ServerTime, *, on_committed: Callable[[], Awaitable[None]]) -> None:
        self._calls = calls
        self._time = time
        self._on_committed = on_committed
        self._tenants: dict[str, int] = {}

    async def write(self, batch: Batch) -> Sequence[Outcome]:
        """An outcome per change of `batch`, which is of one tenant (see `parts`), in order."""
        changes = [entry.change for entry in batch]
        outcomes = await self._judged(_tenant_of(changes[0]), changes)
        # What is written must not be tried again because the loop ends just now.
        with contextlib.suppress(asyncio.CancelledError):
            await self._on_committed()
        return outcomes

    def forget_tenants(self) -> None:
        """Tell the server each tenant once more."""
        self._tenants = {}

    async def _judged(self, tenant: str, changes: Sequence[Change]) -> Sequence[Outcome]:
        begins_in = self._tenants.get(tenant)
        if begins_in is None:
            # In this order: a restore that begins in between either finds the tenant and closes it, or is seen here.
            await self._calls.know(tenant)
            begins_in = self._tenants[tenant] = await self._calls.incarnation()
        for _ in range(RACES_MAX):
            known = await load(self._calls, tenant, changes, begins_in=begins_in)
            judgement = judge(changes, known.rows, known.streams, at=self._time.now_s(), incarnation=known.incarnation)
            faults.point("store-before-commit")
            if await self._is_written(tenant, changes, judgement, known):
                try:
                    faults.point("store-after-commit")
                except Unavailable as error:
                    raise CommitUnknown(f"{self._calls.shown}: the answer to a commit was lost") from error
                return judgement.answers
        raise Unavailable(f"{self._calls.shown}: lost {RACES_MAX} races for the rows of one batch; try again")

    async def _is_written(self, tenant: str, changes: Sequence[Change], judgement: Judgement, known: Known) -> bool:
        """Write a judgement; False where something has moved."""
        allowed = self._calls.pass_for()
        words = written(tenant, changes, judgement, known, allowed)
        try:
            answer = await self._calls.timed(
                lambda: self._calls.script("commit", tenant, *words, writes=True), lambda answer: answer
            )
        except asyncio.CancelledError:
            # The loop ends. It waits for us, who may be writing for others: see what became of it.
            await self._calls.revoke(tenant, allowed["name"])
            now = await load(self._calls, tenant, changes, begins_in=known.incarnation)
            rows = [(key, row.record.digest) for key, row in judgement.rows.items() if row.record is not None]
            return any(now.digests.get(key) == digest for key, digest in rows)
        return bool(answer)


def parts(batch: Batch) -> list[Batch]:
    """`batch` by tenants: changes of two of them share no key, and each tenant's commit together."""
    by_tenant: dict[str, list[Entry[Waiter]]] = {}
    for entry in batch:
        by_tenant.setdefault(_tenant_of(entry.change), []).append(entry)
    return list(by_tenant.values())


async def load(calls: Calls, tenant: str, changes: Sequence[Change], *, begins_in: int) -> Known:
    """All that judging `changes` of one tenant needs. `begins_in`: its incarnation if nothing was written yet."""
    keys = sorted({key for change in changes for key in keys_of(change)}, key=history_order)
    whole = {key for change in changes for key in wholes(change)}
    streams = sorted({stream for change in changes for stream in streams_of(change)})
    asked = document(
        {
            "rows": [(key.kind, key.user, key.id, key in whole) for key in keys],
            "streams": [user for _, user in streams],
        }
    )
    _, incarnation, found, numbers = await calls.timed(
        lambda: calls.script("read", tenant, asked, for_writer=True), lambda answer: answer[0]
    )
    rows: dict[Key, Row] = {}
    digests: dict[Key, str] = {}
    for key, (digest, meta, body) in zip(keys, found, strict=True):
        row = row_from(key, digest, meta, body, whole=key in whole)
        if row is not None and is_unreadable(row):
            raise Poison(
                Corrupt(f"{key}: its fields cannot be read; run verify, then repair or restore a backup", key=key)
            )
        if row is not None:
            rows[key], digests[key] = row, digest.decode(errors="replace")
    known = {stream: int(number) for stream, number in zip(streams, numbers, strict=True) if number}
    return Known(rows, digests, known, int(incarnation or 0) or begins_in)


def written(
    tenant: str, changes: Sequence[Change], judgement: Judgement, known: Known, allowed: Mapping[str, str]
) -> list[bytes]:
    """The parameters of `commit.lua`."""
    texts = Texts()
    rows = []
    for key, row in judgement.rows.items():
        assert row.record is not None, "what is written is written whole"
        numbers = (texts.add(meta_of(row.record, deleted=row.deleted)), texts.add(row.record.body))
        rows.append((key.kind, key.user, key.id, row.record.digest, *numbers))
    events = [
        (*_place(event.key), position_text(event.position), texts.add(header_of(event)), texts.add(event.body),
         texts.add(event.delta))
        for event in judgement.events
    ]  # fmt: skip
    asked = {key for change in changes for key in keys_of(change)}
    streams = {stream for change in changes for stream in streams_of(change)}
    given: Mapping[str, Any] = {
        **allowed,
        "incarnation": str(known.incarnation),
        "known": [(*_place(key), known.digests.get(key, "")) for key in sorted(asked)],
        "counted": [(user, str(known.streams.get((tenant, user), ""))) for _, user in sorted(streams)],
        "removed": [
            (removal.kind, removal.user, removal.prefix, prefix_end(removal.prefix) or "\U0010ffff" * 1001)
            for removal in judgement.removed
        ],
        "rows": rows,
        "events": events,
        "streams": [(user, str(seq)) for (_, user), seq in judgement.streams.items()],
    }
    return [document(given), *texts.given]


def _place(key: Key) -> tuple[str, str, str]:
    return key.kind, key.user, key.id


def _tenant_of(change: Change) -> str:
    """The tenant of a change: it has one, as the gate saw to, or touches nothing."""
    for part in (*change.writes, *change.requires, *change.events):
        return part.key.tenant
    for removal in change.removes:
        return removal.tenant
    return ""
