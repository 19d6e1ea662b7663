"""What a store holds under one key: its row, its journal, and where that was cut. Plain values.

Nobody outside of the room needs rows: they are what stores are made of, and what one store hands another whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from holdfast.store.contract.records import Event, Key, Record

Stream = tuple[str, str]
"""Tenant and user: whose stream."""


class Row(NamedTuple):
    """What a store holds under a key. A deleted row keeps version, epoch and chain, so that they go on.

    `record` is the whole of it, or None where only the head was read.
    """

    version: int
    epoch: int
    owner: str
    chain: str
    deleted: bool
    record: Record | None = None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """All that a store holds under one key. `anchor`: the digest of the last event that was trimmed, or ""."""

    key: Key
    row: Row | None
    events: Sequence[Event]
    anchor: str = ""
