"""The documents of the commands that keep a store: verifications, repairs, removals, moves, backups and drills."""

from __future__ import annotations

import msgspec

from holdfast.cli.documents.runs import iso
from holdfast.store.contract.records import Verification
from holdfast.workflow.upkeep.retention import Removed


class VerificationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification counted and found."""

    store: str
    is_clean: bool
    records: int
    events: int
    problems: tuple[dict[str, str], ...]


class RepairDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `repair` did, in words, and what `verify` says since."""

    store: str
    is_clean: bool
    done: tuple[str, ...]
    problems: tuple[dict[str, str], ...]


class TrimDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What `trim` removed, or would: everything that was over `before`."""

    store: str
    before: str
    is_dry_run: bool
    runs: int
    signals: int
    notices: int
    rows: int


class MigrationDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A store that was copied: what it holds, and what this attempt wrote and removed. `passes`: how often both were
    gone through; in the last nothing differed."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    records: int
    events: int
    written: int
    removed: int
    passes: int
    is_resumed: bool
    took_s: float


class AgainstDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore would take from a store: keys that would be as they were, events that would be gone."""

    store: str
    keys: int
    events: int
    newest_at: str | None


class DrillDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was restored on trial. `age_s`: how much time a restore would lose; `restore_s`: how long it takes;
    `took_s`: with everything that was checked. `runs`: by status; `states`: by workflow and active states;
    `unknown_charts`: runs whose chart no engine has stored, so that only their form was checked."""

    source: str
    is_good: bool
    taken_at: str
    age_s: float
    restore_s: float
    took_s: float
    records: int
    events: int
    runs: dict[str, int]
    states: dict[str, int]
    unknown_charts: int
    problem_count: int
    problems: tuple[str, ...]
    against: AgainstDocument | None


class BackupLine(msgspec.Struct, frozen=True, kw_only=True):
    """One try of a schedule. `error`: why it failed; `deleted`: the old backups that went; `next_at`: when the next one
    is due; `is_noted`: whether the store could be told, for `doctor`."""

    at: str
    is_good: bool
    place: str
    records: int
    events: int
    took_s: float
    error: str
    deleted: tuple[str, ...]
    next_at: str
    is_noted: bool
    drill: DrillDocument | None


def verification_document(store: str, found: Verification) -> VerificationDocument:
    """The document of a verification."""
    return VerificationDocument(
        store=store,
        is_clean=found.is_clean,
        records=found.records,
        events=found.events,
        problems=_problems(found),
    )


def repair_document(store: str, done: list[str], found: Verification) -> RepairDocument:
    """The document of a repair."""
    return RepairDocument(store=store, is_clean=found.is_clean, done=tuple(done), problems=_problems(found))


def trim_document(store: str, removed: Removed, *, before_s: float, is_dry_run: bool) -> TrimDocument:
    """The document of what was removed."""
    return TrimDocument(
        store=store,
        before=iso(before_s),
        is_dry_run=is_dry_run,
        runs=removed.runs,
        signals=removed.signals,
        notices=removed.notices,
        rows=removed.rows,
    )


def _problems(found: Verification) -> tuple[dict[str, str], ...]:
    return tuple(
        {"where": problem.where, "expected": problem.expected, "seen": problem.seen} for problem in found.problems
    )
