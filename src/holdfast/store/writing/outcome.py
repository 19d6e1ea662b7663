"""What became of a commit whose answer was lost: looked up by its change id, in the records and the journal."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.errors import CommitUnknown, Conflict, Unavailable
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import ABSENT, Change, Commit, Delete, Event, Key, Position, Put, Record, Scope

ATTEMPTS_MAX = 5
"""Bound on the attempts of `commit_surely`."""
PAGE = 1000


class _Traces(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to judge by: the records now, and the events that the change wrote."""

    records: dict[Key, Record | None]
    events: tuple[Event, ...]


async def commit_surely(store: Store, scope: Scope, change: Change, *, attempts_max: int = ATTEMPTS_MAX) -> Commit:
    """Commit `change` once, even where answers get lost: looked up, and tried again only if it did not happen.

    Raises CommitUnknown if it cannot be found out, and what `commit` raises; but no `Conflict` with ourselves.
    """
    lost: CommitUnknown | None = None
    for _ in range(attempts_max):
        try:
            return await store.commit(scope, change)
        except CommitUnknown as error:
            lost = error
        except Conflict:
            # A lost attempt may have come through after we looked: then it is our own write that is in the way.
            if lost is None or (done := await _resolved(store, scope, change, lost)) is None:
                raise
            return done
        if (done := await _resolved(store, scope, change, lost)) is not None:
            return done
    assert lost is not None, "only a lost answer leads to another attempt"
    raise lost


async def resolve(store: Store, scope: Scope, change: Change) -> Commit | None:
    """The answer to `change` if it was committed, None if it was not. Raises CommitUnknown where no trace tells.

    A change with events can always be found. Without them, a record that others have since written twice, or deleted,
    tells nothing; one that is absent as the change expected counts as not written, and one that the change deletes
    counts as deleted when it is gone. An epoch that has moved on since is answered as 0, which no guard accepts.
    """
    if not (change.writes or change.events):
        return None  # only checks and removals: doing it again is the same
    traces = await _traces(store, scope, change)
    happened = (
        {_is_done(change, traces)} if change.events else {_tells(change, write, traces) for write in change.writes}
    )
    if True in happened:
        return _answer(change, traces, store.now_s())
    if False in happened:
        return None
    raise CommitUnknown(
        f"change {change.change_id}: no trace tells whether it was committed; expected its id on "
        + ", ".join(str(key) for key in change.keys),
        change_id=change.change_id,
    )


async def _resolved(store: Store, scope: Scope, change: Change, lost: CommitUnknown) -> Commit | None:
    try:
        return await resolve(store, scope, change)
    except Unavailable as error:
        # Not Unavailable to our caller: that would mean that nothing happened.
        raise CommitUnknown(f"{lost.message}; nor can it be looked up: {error.message}", **lost.facts) from error


async def _traces(store: Store, scope: Scope, change: Change) -> _Traces:
    keys = list(dict.fromkeys(change.keys))
    records = dict(zip(keys, await store.read(scope, keys), strict=True))
    expected = {write.key: write.expect or 0 for write in change.writes}
    events: list[Event] = []
    for key in dict.fromkeys(event.key for event in change.events):
        after: Position | None = None
        while page := await store.events(
            scope, record=key, after=after, after_version=max(expected.get(key, 0) - 1, 0), limit=PAGE
        ):
            events += [event for event in page if event.change_id == change.change_id]
            after = page[-1].position
    return _Traces(records=records, events=tuple(events))


def _is_done(change: Change, traces: _Traces) -> bool:
    return bool(traces.events) or any(
        record is not None and record.change_id == change.change_id for record in traces.records.values()
    )


def _tells(change: Change, write: Put | Delete, traces: _Traces) -> bool | None:
    """Whether the record of `write` tells that the change happened; None if it does not tell."""
    record = traces.records[write.key]
    if record is None:
        if isinstance(write, Delete):
            return True
        return False if write.expect == ABSENT else None
    if record.change_id == change.change_id:
        return True
    if write.expect is None:
        return None
    # Every write adds what it is known to add, so the version that ours would have is ours or another's, for good.
    return False if record.version <= write.expect + _added(write) else None


def _answer(change: Change, traces: _Traces, now_s: float) -> Commit:
    versions, epochs = [], []
    for write in change.writes:
        record = traces.records[write.key]
        ours = record if record is not None and record.change_id == change.change_id else None
        versions.append(_version(write, ours, traces.events))
        epochs.append(_epoch(write, ours))
    times = [record.written_at for record in traces.records.values() if record and record.change_id == change.change_id]
    times += [event.at for event in traces.events]
    return Commit(
        change_id=change.change_id,
        at=max(times, default=now_s),
        versions=tuple(versions),
        epochs=tuple(epochs),
        position=max((event.position for event in traces.events), default=None),
    )


def _version(write: Put | Delete, ours: Record | None, events: Sequence[Event]) -> int:
    if isinstance(write, Delete):
        return 0
    if ours is not None:
        return ours.version
    journalled = [event.version for event in events if event.key == write.key]
    return journalled[-1] if journalled else (write.expect or 0) + write.folded


def _added(write: Put | Delete) -> int:
    return write.folded if isinstance(write, Put) else 1


def _epoch(write: Put | Delete, ours: Record | None) -> int:
    if isinstance(write, Delete):
        return 0
    if write.epoch is not None:
        return write.epoch + write.raise_epoch
    is_kept = ours is not None and (write.owner is None or ours.owner == write.owner)
    return ours.epoch if ours is not None and is_kept else 0
