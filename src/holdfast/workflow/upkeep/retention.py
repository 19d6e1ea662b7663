"""Retention: how long what nobody needs any more is kept, and what may then go. Pure.

What may go is what belongs to a run that ended long ago, and signals that were judged long ago. Whatever a living run
needs stays: the run, all of its records, and the run that it was forked from, whose blobs its data may name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from holdfast import codec
from holdfast.clock import parse_duration_s
from holdfast.errors import InvalidInput
from holdfast.store.contract.records import ABSENT, Change, Key, Put, Record, RemovePrefix, Require
from holdfast.store.rows.blobs import BLOB
from holdfast.store.rows.copies import COPY
from holdfast.workflow.model.run import FORKS, MEMO, RUN, SIGNAL, TICKET, Run, ticket_key

OWNED_KINDS = (MEMO, SIGNAL, COPY, BLOB)
"""The kinds of records that belong to a run: their ids start with its id and a slash."""
EVERY_MIN_S = 1.0
KEEP_WHOLE = 1 << 40
"""More rows than any journal has: the journal of what lives stays whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long an engine keeps what nobody needs any more, and how often it looks.

    `keep_for`: how long a run is kept after its end, and a judged signal after its judgement; a duration such as "90d".
    `every`: how often one of the engines of a store removes what is older. `keep_rows`: of a living run's journal, only
    the last so many rows stay besides those younger than `keep_for`; None keeps it whole, so that every version can be
    gone back to.

    Example: `Engine("sqlite:///runs.db", wf, retention=Retention(keep_for="90d", every="1h"))`.
    """

    keep_for: str | float = "90d"
    every: str | float = "1h"
    keep_rows: int | None = None

    def __post_init__(self) -> None:
        if self.keep_for_s <= 0 or self.every_s < EVERY_MIN_S or (self.keep_rows is not None and self.keep_rows < 1):
            raise InvalidInput(
                f"Retention: expected keep_for of more than 0, every of at least {EVERY_MIN_S:g} s and keep_rows of at "
                f"least 1 or None, saw keep_for={self.keep_for!r}, every={self.every!r}, keep_rows={self.keep_rows!r}"
            )

    @property
    def keep_for_s(self) -> float:
        """`keep_for` in seconds."""
        return parse_duration_s(self.keep_for)

    @property
    def every_s(self) -> float:
        """`every` in seconds."""
        return parse_duration_s(self.every)


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """How much went: runs with all that was theirs, signals of other runs, notices that nobody will read, and rows of
    journals."""

    runs: int = 0
    signals: int = 0
    notices: int = 0
    rows: int = 0

    def plus(self, other: Removed) -> Removed:
        """The sum."""
        return Removed(
            runs=self.runs + other.runs,
            signals=self.signals + other.signals,
            notices=self.notices + other.notices,
            rows=self.rows + other.rows,
        )


class Kin(NamedTuple):
    """What hangs together with an ended run: its ticket, the list of its forks, and the list that it is itself on."""

    ticket: Record | None
    forks: Record | None
    siblings: Record | None


def forks_key(run: Run, run_id: str) -> Key:
    """Where the forks of a run are listed, for a run of the same user."""
    return Key(run.tenant, run.user, FORKS, run_id)


def kin_keys(run: Run) -> tuple[Key, Key, Key]:
    """The keys of a run's kin: ticket, forks, siblings."""
    return ticket_key(run), forks_key(run, run.id), forks_key(run, run.forked_from or run.id)


def listed(record: Record | None) -> tuple[str, ...]:
    """The ids in a list of forks."""
    return () if record is None else codec.decode(record.body, tuple[str, ...], what=f"{record.key}")


def with_fork(run: Run, record: Record | None, fork_id: str) -> Put:
    """The write by which a run learns of a fork: it stays for as long as that does."""
    body = codec.encode((*listed(record), fork_id), what=f"forks of run {run.id}")
    return Put(key=forks_key(run, run.id), body=body, expect=ABSENT if record is None else record.version)


def is_needed(kin: Kin, gone: Collection[str] = ()) -> bool:
    """Whether a fork still needs the run; not one of those that are `gone`."""
    return any(fork not in gone for fork in listed(kin.forks))


def removal(run: Run, version: int, kin: Kin, *, change_id: str) -> Change:
    """The change by which an ended run goes with all that is its own, leaving no row; refused as a Conflict if anything
    of it changed since it was looked at, a fork included. Its journal is left to the store's trim."""
    assert run.is_ended, f"run {run.id}: only what has ended may go"
    assert not is_needed(kin), f"run {run.id}: a fork needs it"
    ticket, forks, siblings = kin_keys(run)
    requires = [Require(key=run.key, version=version), _as_seen(ticket, kin.ticket), _as_seen(forks, kin.forks)]
    prefixes = [(kind, f"{run.id}/") for kind in OWNED_KINDS] + [(RUN, run.id), (FORKS, run.id)]
    if kin.ticket is not None and codec.decode(kin.ticket.body)["run"] == run.id:
        prefixes.append((TICKET, ticket.id))
    writes: tuple[Put, ...] = ()
    if run.forked_from:
        left = [fork for fork in listed(kin.siblings) if fork != run.id]
        if left and kin.siblings is not None:
            writes = (Put(key=siblings, body=codec.encode(left), expect=kin.siblings.version),)
        else:
            requires.append(_as_seen(siblings, kin.siblings))
            prefixes.append((FORKS, run.forked_from))
    return Change(
        change_id=change_id,
        writes=writes,
        requires=tuple(requires),
        removes=tuple(
            RemovePrefix(tenant=run.tenant, user=run.user, kind=kind, prefix=prefix) for kind, prefix in prefixes
        ),
    )


def _as_seen(key: Key, record: Record | None) -> Require:
    return Require(key=key, version=ABSENT if record is None else record.version)
