"""What the cache holds of a record, in what form, and when it may be believed. Pure.

An entry says: at `moment` this was the record, and the cache generation was read as `generation` before that. A commit
that the cache was not told of raises the generation, in the same transaction or right after it. So an entry is good
for whoever knows no higher generation, for a limited time, and only if it is not below what the reader saw already.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from holdfast import codec
from holdfast.errors import Corrupt, InvalidInput
from holdfast.store.contract.history import Row
from holdfast.store.contract.records import Key, Record, RemovePrefix
from holdfast.store.rows.digest import checked

CACHED_KINDS = frozenset({"run", "state"})
"""The kinds of records that people and agents look at: runs, and objects that agents share. The same in all processes.

The rest is read by those alone who decide by it, or is removed by prefix and may be made again under the same id.
"""
CHECK_BYTES = 8
Order = tuple[int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
    """What readers are promised, in seconds, and what it may cost.

    `lives_s`: how old a cached record can be at worst. `generation_every_s`: how often a reader asks the truth for the
    generation, which bounds its staleness while the truth answers within `generation_wait_s`. `budget_s`: what one
    call of the cache may take. `probe_first_s`, `probe_max_s`: the pauses between attempts to reach a cache that is
    away. `queue_max`: how many records may wait to be put.
    """

    lives_s: float = 30.0
    generation_every_s: float = 1.0
    generation_wait_s: float = 1.0
    budget_s: float = 0.1
    probe_first_s: float = 0.1
    probe_max_s: float = 5.0
    queue_max: int = 10_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise InvalidInput(f"mirror: expected {field.name} above zero, saw {getattr(self, field.name)}")


class Entry(msgspec.Struct, frozen=True):
    """One record as it was. `moment`: microseconds of the store's time; `deleted`: a tombstone."""

    record: Record
    moment: int
    generation: int
    deleted: bool = False

    @property
    def order(self) -> Order:
        """Which of two entries of a key is newer. A claim raises the epoch alone; a new event, neither: then it is
        the moment that decides, which is no more exact than the clocks, and only the record's chain is at stake."""
        return self.record.version, self.record.epoch, self.moment


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Entry).decode


def micros(time_s: float) -> int:
    """Epoch seconds as whole microseconds."""
    return round(time_s * 1_000_000)


def name_of(key: Key) -> bytes:
    """What a key is called in the cache, behind the namespace. No two keys share one."""
    return codec.canonical(key)


def packed(entry: Entry) -> bytes:
    """The bytes of an entry: its order in digits, for the script that compares; a checksum; all of it."""
    head = b"%d:%d:%d:" % entry.order
    body = _pack(entry)
    return head + _checksum(head, body) + body


def unpacked(data: bytes, key: Key) -> Entry | None:
    """The entry of `key` in `data`, or None if that is not what it holds, whole and undamaged."""
    ends = data.find(b":", data.find(b":", data.find(b":") + 1) + 1) + 1
    head, check, body = data[:ends], data[ends : ends + CHECK_BYTES], data[ends + CHECK_BYTES :]
    if check != _checksum(head, body):
        return None
    try:
        entry = _unpack(body)
        checked(entry.record, deleted=entry.deleted)
    except (msgspec.MsgspecError, Corrupt):
        return None
    return entry if entry.record.key == key else None


def is_good(entry: Entry, *, generation: int, least_version: int, now_s: float, lives_s: float) -> bool:
    """Whether a reader who knows `generation`, and has seen `least_version`, may believe `entry`."""
    return (
        entry.generation >= generation
        and entry.record.version >= least_version
        and micros(now_s) < entry.moment + micros(lives_s)
    )


def left_ms(entry: Entry, *, now_s: float, lives_s: float) -> int:
    """For how many more milliseconds the cache is to keep `entry`; not above zero once it is too old."""
    return (entry.moment + micros(lives_s) - micros(now_s)) // 1000


def entries_of(rows: Mapping[Key, Row], *, generation: int, moment: int) -> list[Entry]:
    """What a commit of `rows` tells the cache, tombstones included."""
    return [
        Entry(row.record, moment, generation, row.deleted)
        for key, row in rows.items()
        if key.kind in CACHED_KINDS and row.record is not None
    ]


def is_unlisted(removed: Sequence[RemovePrefix]) -> bool:
    """Whether cached records were removed without anybody knowing which: only a new generation tells of those."""
    return any(removal.kind in CACHED_KINDS for removal in removed)


def _checksum(head: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(head + body, digest_size=CHECK_BYTES).digest()
