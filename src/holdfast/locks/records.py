"""A lock as a record of its tenant: the owner column names the holder, the epoch is the fencing token."""

from __future__ import annotations

import msgspec

from holdfast import codec
from holdfast.locks.rules import LockState
from holdfast.store.records import ABSENT, SHARED, Key, Put, Record

LOCK = "lock"
_decoder = msgspec.json.Decoder(LockState)


def lock_key(tenant: str, kind: str, name: str) -> Key:
    """The key of a lock: it belongs to the tenant, so that all its users meet at it."""
    return Key(tenant, SHARED, LOCK, f"{kind}/{name}")


def lock_state(kind: str, name: str, record: Record | None) -> LockState:
    """The stored lock, or a free one."""
    return LockState(kind, name) if record is None else _decoder.decode(record.body)


def lock_write(tenant: str, record: Record | None, lock: LockState, *, is_new_holder: bool) -> Put:
    """The write that makes a verdict true, if the lock is still as it was read; a new holder raises the token."""
    holder = lock.holder
    return Put(
        key=lock_key(tenant, lock.kind, lock.name),
        body=codec.encode(lock, what=f"lock {lock.kind}/{lock.name}"),
        expect=ABSENT if record is None else record.version,
        status="held" if holder else "free",
        owner=holder.holder if holder else "",
        raise_epoch=is_new_holder,
        labels={"lock": lock.kind},
    )


def token_of(record: Record | None) -> int:
    """The fencing token of the present holder; 0 where there never was one."""
    return 0 if record is None else record.epoch
