"""Copies: how a record stood, kept whole inside another record, so that it can be gone back to. Pure.

A copy of a record is a record of kind `checkpoint` of the same tenant and user, whose id is that of the original, a
slash and a name. Its body may hold what its writer likes beside two fields: `snapshot`, the body as it was, and
`record`, the fields beside the body.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.digest import digest_of
from holdfast.store.records import Key, Record

COPY = "checkpoint"
"""The kind of records that hold copies."""


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


def copy_prefix(original: Key) -> str:
    """What the ids of all copies of a record start with."""
    return f"{original.id}/"


def good_copies(original: Key, records: list[Record]) -> list[Copy]:
    """Those of `records` that are sound copies of `original`, the newest version first."""
    found = [copy for record in records if (copy := _copy_in(original, record)) is not None]
    return sorted(found, key=lambda copy: (-copy.record.version, copy.name))


class _Stored(msgspec.Struct, frozen=True):
    snapshot: Any
    record: Copied


def _copy_in(original: Key, record: Record) -> Copy | None:
    if digest_of(record) != record.digest or record.key != (*original[:2], COPY, record.key.id):
        return None
    try:
        stored = codec.decode(record.body, _Stored)
    except InvalidInput:
        return None
    if stored.record.kind != original.kind or not record.key.id.startswith(copy_prefix(original)):
        return None
    return Copy(name=record.key.id.removeprefix(copy_prefix(original)), snapshot=stored.snapshot, record=stored.record)
