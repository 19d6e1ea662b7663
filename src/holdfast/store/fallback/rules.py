"""What becomes of one change of an outage, now that the server is back. Pure.

The changes of an outage go to the server one by one and in their order, as commits are put upon another branch: one
whose records stand there as they stood here goes in as it is. Where others wrote meanwhile, the policies of the
record's kind settle it field by field; what they do not settle is not written at all, and kept aside whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.merge import NOTHING, FieldPolicy, Stamp, is_same, merge
from holdfast.store.contract.records import ABSENT, Change, Claim, Delete, Key, NewEvent, Put, Record, Require, Scope

UNMERGED = "unmerged"
"""The kind of the records that keep what was not merged."""
AGENT = "fallback"
"""Who speaks in the journal."""
MERGED, RESTORED, KEPT, PASSED_BY = "merged", "restored", "kept", "passed_by"
"""Events: put together with others' changes; put back, as the server had lost it; kept aside (in the journal of what is
kept); and, in that of the record itself, that a change of it was kept aside."""
LABEL_CHARS_MAX = 1000
PASSED_BY_MAX = 1000
BODY = "/body"

Policies = Callable[[Key], Mapping[str, FieldPolicy]]
"""What settles the fields of a record: by JSON pointer into `document`."""


class Mark(NamedTuple):
    """What tells whether a record was written or claimed since."""

    version: int
    epoch: int
    change_id: str


class Standing(NamedTuple):
    """How this process left a record on the server: by which mark (None: not there), and whether it stands there as it
    stood here."""

    mark: Mark | None
    is_ours: bool


class Found(NamedTuple):
    """What the server holds under a key. `is_lost`: this process knew a record, and nothing there says that there ever
    was one."""

    record: Record | None
    is_lost: bool = False


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an outage: the records that it touches before it, and those that it wrote after it."""

    scope: Scope
    change: Change
    before: Mapping[Key, Record | None]
    after: Mapping[Key, Record | None]
    at: float

    @property
    def keys(self) -> list[Key]:
        """All that must be looked at before it may go in."""
        return list(self.before)


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One record that was claimed in an outage, as it was before and after."""

    claim: Claim
    before: Record
    after: Record

    @property
    def keys(self) -> list[Key]:
        """All that must be looked at before it may go in."""
        return [self.before.key]


class Fit(NamedTuple):
    """A change that goes in as it is now, and the keys whose records are put together, or put back."""

    change: Change
    merged: tuple[Key, ...] = ()
    restored: tuple[Key, ...] = ()


class Kept(NamedTuple):
    """A change that does not go in: why, and which fields of which records were in the way."""

    why: str
    paths: Mapping[Key, tuple[str, ...]]


def mark_of(record: Record | None) -> Mark | None:
    """What tells one state of a record from another."""
    return None if record is None else Mark(record.version, record.epoch, record.change_id)


def is_as_left(key: Key, before: Record | None, found: Found, stands: Mapping[Key, Standing]) -> bool:
    """Whether the server's record is what this process started from."""
    standing = stands.get(key) or Standing(mark_of(before), True)
    return standing.is_ours and standing.mark == mark_of(found.record)


def is_known(key: Key, before: Record | None, stands: Mapping[Key, Standing]) -> bool:
    """Whether this process knows of a record of its own or its readings on the server, so that it must be there."""
    standing = stands.get(key)
    return before is not None if standing is None else standing.is_ours and standing.mark is not None


def fit(entry: Written, found: Mapping[Key, Found], stands: Mapping[Key, Standing], policies: Policies) -> Fit | Kept:
    """What `entry` is to the server's records as they are now: a change to commit, on the condition that they stay so,
    or nothing that may be committed."""
    change = entry.change
    requires = []
    for require in change.requires:
        there = found[require.key]
        if not is_as_left(require.key, entry.before[require.key], there, stands):
            return Kept(f"it was decided on {require.key}, which others changed meanwhile", {require.key: ("",)})
        requires.append(_required(require, there.record))
    writes: list[Put | Delete] = []
    bodies: dict[Key, bytes] = {}
    restored: list[Key] = []
    paths: dict[Key, tuple[str, ...]] = {}
    for write in change.writes:
        there = found[write.key]
        if is_as_left(write.key, entry.before[write.key], there, stands):
            writes.append(_pinned(write, there.record))
        elif there.is_lost:
            restored.append(write.key)
            if isinstance(write, Put):
                writes.append(_pinned(write, None))
        else:
            is_ours = write.key not in stands or stands[write.key].is_ours
            outcome = _put_together(write, entry, there.record, policies(write.key), is_ours=is_ours)
            if isinstance(outcome, tuple):
                paths[write.key] = outcome
                continue
            writes.append(outcome)
            if there.record is not None:
                bodies[write.key] = outcome.body if isinstance(outcome, Put) else b""
    if paths:
        return Kept(f"others changed {_listed(paths)} meanwhile", paths)
    whole = bodies | {write.key: write.body for write in writes if isinstance(write, Put) and write.key in restored}
    told = _told(change, whole, restored, gone=set(restored) - set(whole))
    writes = [_counted(write, told, was=change.events) for write in writes]
    fitted = replace(change, writes=tuple(writes), requires=tuple(requires), events=tuple(told))
    return Fit(fitted, tuple(bodies), tuple(restored))


def kept_changes(entry: Written, found: Mapping[Key, Found], kept: Kept, *, rows_max: int) -> list[Change]:
    """What is committed instead of a change that does not go in: a record for each of its writes, with its events, and
    what makes it impossible that a version that this process saw in the outage is taken for the server's."""
    parts = [_kept_write(entry, write, number, found, kept) for number, write in enumerate(entry.change.writes)]
    written = set(entry.change.keys)
    if rest := [event for event in entry.change.events if event.key not in written]:
        if parts:
            writes, events = parts[0]
            parts[0] = (writes, (*events, *_said_again(rest, writes[0].key)))
        else:
            key = kept_key(entry, 0, rest[0].key)
            parts = [((Put(key=key, body=b"null", expect=ABSENT),), (_why(key, kept), *_said_again(rest, key)))]
    together = sum(len(writes) + len(events) for writes, events in parts)
    if together <= rows_max:
        parts = [(tuple(w for writes, _ in parts for w in writes), tuple(e for _, events in parts for e in events))]
    return [
        Change(change_id=f"{UNMERGED}:{entry.change.change_id}:{number}", writes=writes, events=events)
        for number, (writes, events) in enumerate(parts)
    ]


def kept_key(entry: Written, number: int, key: Key) -> Key:
    """Under which key the write of that number is kept: beside the record itself, and found again by its change."""
    return Key(key.tenant, key.user, UNMERGED, f"{entry.change.change_id[:900]}/{number}")


def step_aside(there: Record | None, reached: int) -> Put | None:
    """The server's record once more, where its version is one that this process may have given out, having `reached`
    that one: whoever still holds it must be refused. It stands for as many updates as it takes to get past. None where
    nothing has to be done."""
    if there is None or there.version > reached:
        return None
    return replace(_again(there), folded=min(reached - there.version + 1, PASSED_BY_MAX))


def raised(there: Record | None, epoch: int) -> Put | None:
    """The same for epochs, one a write: the owner that the server knows is fenced as well, and finds his record again.
    None where nothing has to be done."""
    return None if there is None or there.epoch > epoch else replace(_again(there), raise_epoch=True)


def _again(there: Record) -> Put:
    return Put(
        key=there.key, body=there.body, expect=there.version, epoch=there.epoch, status=there.status, due=there.due,
        queue=there.queue, labels=there.labels,
    )  # fmt: skip


def has_content_of(record: Record | None, other: Record | None) -> bool:
    """Whether both say the same, whoever wrote them."""
    return is_same(document(record), document(other))


def document(record: Record | None) -> Any:
    """All of a record that a writer decides, as one JSON value: what is merged. NOTHING where there is none."""
    if record is None:
        return NOTHING
    return {
        "body": codec.decode(record.body),
        "status": record.status,
        "due": record.due,
        "queue": record.queue,
        "labels": dict(record.labels),
    }


# -- one write ------------------------------------------------------------------------------------------------------


def _required(require: Require, there: Record | None) -> Require:
    version = None if require.version is None else ABSENT if there is None else there.version
    return replace(require, version=version, epoch=None if require.epoch is None or there is None else there.epoch)


def _pinned(write: Put | Delete, there: Record | None) -> Put | Delete:
    """`write`, on the condition that the record is still as it was looked at."""
    expect, epoch = (ABSENT, None) if there is None else (there.version, there.epoch)
    return replace(write, expect=expect, epoch=epoch)


def _put_together(
    write: Put | Delete,
    entry: Written,
    theirs: Record | None,
    policies: Mapping[str, FieldPolicy],
    *,
    is_ours: bool,
) -> Put | Delete | tuple[str, ...]:
    """The write that has both sides' changes; or the fields that nothing settles."""
    base, ours = entry.before[write.key], entry.after[write.key]
    if theirs is None:
        have_both_deleted = ours is None and is_ours
        return replace(write, expect=ABSENT, epoch=None) if have_both_deleted else ("",)
    is_owned = theirs.owner or write.epoch is not None
    if is_owned or (isinstance(write, Put) and (write.raise_epoch or write.owner is not None)):
        return ("",)  # what has an owner is his alone to change, and he is not the one who comes late
    stamps = (Stamp(entry.at, entry.change.change_id), Stamp(theirs.written_at, theirs.change_id))
    known = {"": FieldPolicy.RETRY} | dict(policies)
    merged = merge(document(base), document(ours), document(theirs), policies=known, stamps=stamps)
    if not merged.is_clean:
        return tuple(conflict.path.removeprefix(BODY) for conflict in merged.conflicts)
    if merged.value is NOTHING:
        return Delete(key=write.key, expect=theirs.version, epoch=theirs.epoch)
    value = merged.value
    return Put(
        key=write.key,
        body=codec.encode(value["body"], what=f"{write.key}", bytes_max=2 * codec.PAYLOAD_BYTES_MAX),
        expect=theirs.version,
        epoch=theirs.epoch,
        status=value["status"],
        due=value["due"],
        queue=value["queue"],
        labels=value["labels"],
        folded=write.folded if isinstance(write, Put) else 1,
    )


def _told(
    change: Change, bodies: Mapping[Key, bytes], restored: Sequence[Key], *, gone: Collection[Key]
) -> list[NewEvent]:
    """The events of a change. Of a record that is put together or put back they tell who and why, and one more tells
    the whole body: what was between never was there. What the server lost and is deleted has no journal to tell in."""
    told = [replace(event, delta=b"") if event.key in bodies else event for event in change.events]
    told = [event for event in told if event.key not in gone]
    for key in dict.fromkeys(event.key for event in change.events if event.key in bodies):
        name = RESTORED if key in restored else MERGED
        words = (
            "written while the server was away, and put back: it came without it"
            if key in restored
            else "written while the server was away, and put together with what others wrote meanwhile"
        )
        delta = b'{"full":%b}' % bodies[key] if bodies[key] else b""
        told.append(NewEvent(key=key, name=name, body=_facts(words), delta=delta))
    return told


def _counted(write: Put | Delete, told: Sequence[NewEvent], *, was: Sequence[NewEvent]) -> Put | Delete:
    """`write`, standing for one update more where it stands for several and one more event tells of it."""
    if isinstance(write, Delete) or write.folded == 1:
        return write
    more = sum(event.key == write.key for event in told) - sum(event.key == write.key for event in was)
    return replace(write, folded=write.folded + more)


# -- what is kept ---------------------------------------------------------------------------------------------------


def _kept_write(
    entry: Written, write: Put | Delete, number: int, found: Mapping[Key, Found], kept: Kept
) -> tuple[tuple[Put, ...], tuple[NewEvent, ...]]:
    key = kept_key(entry, number, write.key)
    there, ours, base = found[write.key].record, entry.after[write.key], entry.before[write.key]
    labels = {
        "kind": write.key.kind,
        "id": write.key.id,
        "expected": str(0 if base is None else base.version),
        "seen": str(0 if there is None else there.version),
        "why": kept.why[:LABEL_CHARS_MAX],
        "paths": " ".join(kept.paths.get(write.key, ()))[:LABEL_CHARS_MAX],
    }
    status = "written" if ours is not None else "deleted"
    put = Put(key=key, body=b"null" if ours is None else ours.body, expect=ABSENT, status=status, labels=labels)
    reached = ours.version if ours is not None else 0 if base is None else base.version + 1
    aside = step_aside(there, reached)
    events = [_why(key, kept)]
    events += _said_again([event for event in entry.change.events if event.key == write.key], key)
    if aside is not None:
        words = _facts(f"a change that was made while the server was away is kept aside as {key.id}: {kept.why}")
        passed = [NewEvent(key=write.key, name=PASSED_BY, body=words)] * aside.folded
        events += [*passed[:-1], replace(passed[-1], delta=b'{"full":%b}' % aside.body)]
    return (put,) if aside is None else (put, aside), tuple(events)


def _why(key: Key, kept: Kept) -> NewEvent:
    return NewEvent(key=key, name=KEPT, body=_facts(kept.why))


def _said_again(events: Sequence[NewEvent], key: Key) -> list[NewEvent]:
    """The events of a change, in the journal of what is kept of it."""
    return [NewEvent(key=key, name=event.name, body=event.body) for event in events]


def _facts(words: str) -> bytes:
    return codec.encode({"agent": AGENT, "metadata": {"what": words}})


def _listed(paths: Mapping[Key, tuple[str, ...]]) -> str:
    return ", ".join(_shown(paths))


def _shown(paths: Mapping[Key, tuple[str, ...]]) -> Iterator[str]:
    for key, fields in paths.items():
        named = [field for field in fields if field]
        yield f"{key} at {', '.join(named)}" if named else f"{key}"
