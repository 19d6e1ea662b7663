"""Copies: how a record stood, kept whole inside another record, so that it can be gone back to. Pure.

A copy of a record is a record of kind `checkpoint` of the same tenant and user, whose id is that of the original, a
slash and a name; a copy of a `state` is a `state_copy`, and two slashes are between, for its id has slashes itself. Its
body may hold what its writer likes beside two fields: `snapshot`, the body as it was, and `record`, the fields beside
the body.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import Key, Record
from holdfast.store.rows.digest import digest_of

COPY, BETWEEN = "checkpoint", "/"
"""The kind of records that hold copies, and what stands between the original's id and the copy's name."""
STATE, STATE_COPY, STATE_BETWEEN = "state", "state_copy", "//"
"""The same for shared state, whose kind is the first."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy tells of its original beside its body. The owner is none of its business."""

    kind: str
    version: int
    epoch: int
    status: str = ""
    due: float | None = None
    queue: str = ""
    labels: dict[str, str] = {}


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A good copy: its name, and what it holds."""

    name: str
    snapshot: Any
    record: Copied


def copy_kind(original: Key) -> str:
    """The kind of the copies of a record."""
    return STATE_COPY if original.kind == STATE else COPY


def copy_prefix(original: Key) -> str:
    """What the ids of all copies of a record start with."""
    return original.id + (STATE_BETWEEN if original.kind == STATE else BETWEEN)


def is_copy(key: Key) -> bool:
    """Whether a record is a copy of another one."""
    return key.kind in (COPY, STATE_COPY)


def original_id(copy: Key) -> str | None:
    """The id of what a copy is of; None where `copy` names no copy."""
    if not is_copy(copy):
        return None
    id_, between, _ = copy.id.partition(STATE_BETWEEN if copy.kind == STATE_COPY else BETWEEN)
    return id_ if between else None


def good_copies(original: Key, records: list[Record]) -> list[Copy]:
    """Those of `records` that are sound copies of `original`, the newest version first."""
    found = [copy for record in records if (copy := _copy_in(original, record)) is not None]
    return sorted(found, key=lambda copy: (-copy.record.version, copy.name))


class _Stored(msgspec.Struct, frozen=True):
    snapshot: Any
    record: Copied


def _copy_in(original: Key, record: Record) -> Copy | None:
    if digest_of(record) != record.digest or record.key != (*original[:2], copy_kind(original), record.key.id):
        return None
    try:
        stored = codec.decode(record.body, _Stored)
    except InvalidInput:
        return None
    if stored.record.kind != original.kind or not record.key.id.startswith(copy_prefix(original)):
        return None
    return Copy(name=record.key.id.removeprefix(copy_prefix(original)), snapshot=stored.snapshot, record=stored.record)
