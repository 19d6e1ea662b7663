"""What a store knows of its backups: one small record of the last good one, the schedule, and what failed since.

Whoever takes backups writes it after each; `doctor` reads it. It is of the store that was backed up, so each backup
holds the record of the one before.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import SHARED, SYSTEM_TENANT, Change, Key, Put, Scope
from holdfast.store.writing.outcome import commit_surely

BACKUP = "backup"
LAST = Key(SYSTEM_TENANT, SHARED, BACKUP, "last")


class LastBackup(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last good backup: when it was taken (epoch seconds), how long that took, where it is ("host:path"), what it
    holds, and whether it was drilled. `every_s`: the schedule, if there is one. `failure`: why a try since then failed.
    """

    at: float | None = None
    took_s: float = 0.0
    place: str = ""
    records: int = 0
    events: int = 0
    was_drilled: bool = False
    every_s: float | None = None
    failure: str = ""
    failed_at: float | None = None


async def last_backup(store: Store) -> LastBackup:
    """What the store knows; an empty record where nothing was ever noted."""
    (record,) = await store.read(Scope.system(), [LAST])
    return LastBackup() if record is None else codec.decode(record.body, LastBackup, what="record of the last backup")


async def note_backup(store: Store, made: LastBackup, *, change_id: str) -> None:
    """Note a good backup. One taken by hand leaves the schedule as it is."""
    if made.every_s is None:
        made = replace(made, every_s=(await last_backup(store)).every_s)
    await _note(store, made, change_id)


async def forget_schedule(store: Store, *, change_id: str) -> None:
    """Expect no further backup by itself."""
    await _note(store, replace(await last_backup(store), every_s=None, failure="", failed_at=None), change_id)


async def note_failure(store: Store, words: str, *, at: float, every_s: float | None, change_id: str) -> None:
    """Note that a try failed, beside the last good one."""
    known = await last_backup(store)
    await _note(store, replace(known, failure=words, failed_at=at, every_s=every_s or known.every_s), change_id)


async def _note(store: Store, last: LastBackup, change_id: str) -> None:
    put = Put(key=LAST, body=codec.encode(last, what="record of the last backup"), expect=None)
    await commit_surely(store, Scope.system(), Change(change_id=change_id, writes=(put,)))
