"""How a damaged record is rebuilt from its journal, and when it cannot be. Pure.

The stored digest is the judge: where the rebuilt record has it, the repair is proven. Where it has not, other fields
may be damaged too, so the owner is dropped and the epoch raised, and whoever believes to own the record is refused.
"""

from __future__ import annotations

import msgspec

from holdfast import codec
from holdfast.errors import Corrupt, InvalidInput
from holdfast.store.audit import History, problems_of
from holdfast.store.digest import digest_of, digest_of_event
from holdfast.store.journal import Rebuilt, rebuilt
from holdfast.store.records import Record
from holdfast.store.rules import Row, row_of


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What can be done about one damaged record: its new row, or None if nothing can; and that in words."""

    row: Row | None
    words: str


def repair_of(history: History) -> Repair | None:
    """The repair that `history` needs, or None if nothing is wrong with it."""
    problems = list(problems_of(history))
    if not problems:
        return None
    seen = "; ".join(str(problem) for problem in problems)
    if history.row is None or history.row.record is None or history.row.deleted:
        return Repair(row=None, words=f"{history.key}: not repaired, restore a backup ({seen})")
    if not _is_sound(history):
        return Repair(row=None, words=f"{history.key}: not repaired, its journal is damaged; restore a backup ({seen})")
    journalled = _rebuilt(history)
    if journalled is None or not history.events:
        return Repair(
            row=None, words=f"{history.key}: not repaired, its journal holds no body; restore a backup ({seen})"
        )
    record = _mended(history.row.record, journalled, history.events[-1].digest)
    if record.digest == history.row.record.digest:
        return Repair(row=row_of(record), words=f"{history.key}: rebuilt from its journal, proven by its digest")
    if journalled.version < history.row.record.version:
        return Repair(
            row=None,
            words=f"{history.key}: not repaired, its journal ends at version {journalled.version};"
            f" restore a backup ({seen})",
        )
    fenced = msgspec.structs.replace(record, owner="", epoch=record.epoch + 1)
    fenced = msgspec.structs.replace(fenced, digest=digest_of(fenced))
    return Repair(
        row=row_of(fenced),
        words=f"{history.key}: rebuilt from its journal at version {fenced.version}; owner cleared and epoch raised,"
        " check status and due by hand",
    )


def _is_sound(history: History) -> bool:
    """Whether the journal is whole in itself."""
    previous = history.anchor
    for event in history.events:
        if digest_of_event(event) != event.digest or event.previous not in (previous, ""):
            return False
        previous = event.digest
    return True


def _rebuilt(history: History) -> Rebuilt | None:
    try:
        return rebuilt(history.events)
    except (Corrupt, InvalidInput):
        return None


def _mended(record: Record, journalled: Rebuilt, chain: str) -> Record:
    """`record` with what the journal tells; the bytes as stored if they say the same."""
    body = record.body if _says(record.body, journalled) else codec.encode(journalled.body, what="body")
    mended = msgspec.structs.replace(record, body=body, version=max(record.version, journalled.version), chain=chain)
    return msgspec.structs.replace(mended, digest=digest_of(mended))


def _says(body: bytes, journalled: Rebuilt) -> bool:
    try:
        return bool(codec.decode(body) == journalled.body)
    except InvalidInput:
        return False
