"""What becomes of an object, decided from what is held: who may write, what several writers make of it, what is stale.

Pure: versions, times and values come in, the next value and its journal rows come out.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import replace

from holdfast import codec
from holdfast.clock import parse_duration_s
from holdfast.errors import Conflict, InvalidInput, MergeConflict
from holdfast.merge import FieldPolicy, Stamp, merge
from holdfast.state.names import OBJECT, edge_key, source_key
from holdfast.state.objects import Author, Held, Stored
from holdfast.store.contract.records import ABSENT, Delete, Key, NewEvent, Put, Require
from holdfast.store.rows import journal

SET, UPDATED, MERGED, DELETED = "set", "updated", "merged", "deleted"
EXPIRED, RESTORED, REPAIRED = "expired", "restored", "repaired"
SLICE_ROWS_MAX = 1500
SLICE_BYTES_MAX = 32 * 1024 * 1024
"""Bounds on what goes into one change, below those of the store."""
ItemT = TypeVar("ItemT")
GONE = (DELETED, EXPIRED)
"""After an event of this name there is no object."""


class Keep(enum.Enum):
    """What is to stay as it was."""

    AS_BEFORE = "as before"


Ttl = str | float | None
"""How long an object lasts: "48h", or seconds; math.inf is for ever, None what was said before."""


def until(ttl: Ttl, *, now: float) -> float | Keep | None:
    """When an object is over that lasts `ttl` from now. Raises InvalidInput."""
    if ttl is None:
        return Keep.AS_BEFORE
    if ttl == math.inf:
        return None
    if not (seconds := parse_duration_s(ttl)) > 0:
        raise InvalidInput(f"ttl: expected more than 0 seconds, saw {ttl!r}")
    return now + seconds


class Seen(NamedTuple):
    """An object as a writer finds it: nothing, or a value. `version` is 0 where there is none, and None where it was
    made a moment ago by a change that is not committed yet."""

    version: int | None
    stored: Stored | None


class Asked(NamedTuple):
    """What one writer wants: `make` gives the next body from what is there, and may refuse by raising."""

    make: Callable[[Seen], Stored]
    name: str
    author: Author


class Fold(NamedTuple):
    """What several writers made of one object, in their order: a body or a refusal for each, and what to write. `told`
    is what its journal leads to then, as JSON values."""

    outcomes: tuple[Stored | Exception, ...]
    put: Put | None
    events: tuple[NewEvent, ...]
    told: Any = None

    @property
    def rows(self) -> int:
        """How many rows of a change it takes."""
        return len(self.events) + 1

    @property
    def bytes(self) -> int:
        """How many bytes of a change it takes."""
        body = 0 if self.put is None else len(self.put.body)
        return body + sum(len(event.body) + len(event.delta) for event in self.events)

    @property
    def versions(self) -> tuple[int | None, ...]:
        """Which of the updates each writer's is, counted from 0; None where it was refused."""
        count = 0
        found: list[int | None] = []
        for outcome in self.outcomes:
            is_made = isinstance(outcome, Stored)
            found.append(count if is_made else None)
            count += is_made
        return tuple(found)


def fold(key: Key, known: Held | None, asked: Sequence[Asked], *, now: float, told: Any = None) -> Fold:
    """One write for all of `asked`: each sees what the ones before made, and who refuses hurts himself alone.

    `told`: the body of `known` as JSON values, where it is at hand.
    """
    base = ABSENT if known is None else known.version
    seen = Seen(base, known.stored) if known is not None and known.is_live(now) else Seen(ABSENT, None)
    journalled = told if told is not None or known is None else known.stored.plain()
    outcomes: list[Stored | Exception] = []
    events: list[NewEvent] = []
    body = b""
    for each in asked:
        try:
            after = each.make(seen)
            encoded = codec.encode(after, what=f"{key}")
        except Exception as error:
            outcomes.append(error)
            continue
        outcomes.append(after)
        body = encoded
        version = base + len(events) + 1
        before, journalled = journalled, codec.decode(encoded)
        delta = journal.delta(before, journalled, version)
        events.append(NewEvent(key=key, name=each.name, body=each.author.audit, delta=delta))
        seen = Seen(version if base else None, after)
    if seen.stored is None or not events:
        return Fold(tuple(outcomes), None, ())
    put = Put(key=key, body=body, expect=base, due=seen.stored.expires_at, folded=len(events))
    return Fold(tuple(outcomes), put, tuple(events), journalled)


def check_expected(key: Key, expect: int | None, seen: Seen) -> None:
    """Raises Conflict unless the object has the version that its writer expects; 0 is none, None is any."""
    if expect is not None and expect != seen.version:
        wanted = f"version {expect}" if expect else "no object"
        found = (
            "one made a moment ago" if seen.version is None else f"version {seen.version}" if seen.version else "none"
        )
        raise Conflict(
            f"{key.id}: expected {wanted}, found {found}; read it again", key=key, expected=expect, seen=seen.version,
            paths=(key.id,),
        )  # fmt: skip


def next_body(
    seen: Seen,
    value: Any,
    author: Author,
    *,
    until: float | Keep | None,
    uses: dict[str, int] | None = None,
) -> Stored:
    """The body after a change. `until`: when it will be gone, None for never. `uses`: None keeps what was said."""
    before = seen.stored
    kept_until = None if before is None else before.expires_at
    kept_uses = {} if before is None else before.uses
    return Stored(
        value=value,
        by=author.by,
        why=author.why,
        uses=kept_uses if uses is None else uses,
        expires_at=kept_until if isinstance(until, Keep) else until,
    )


def merged_value(
    path: str,
    base: Any,
    ours: Any,
    theirs: Seen,
    *,
    policies: Mapping[str, FieldPolicy] | None,
    stamps: tuple[Stamp, Stamp],
) -> Any:
    """What `ours` and what is there made of `base` together. Raises MergeConflict, naming the fields."""
    if theirs.stored is None:
        raise Conflict(f"{path}: expected an object to merge into, found none", paths=(path,), expected=None, seen=0)
    found = merge(base, ours, theirs.stored.value, policies=policies, stamps=stamps)
    if not found.is_clean:
        fields = tuple(conflict.path for conflict in found.conflicts)
        raise MergeConflict(
            f"{path}: both sides changed {', '.join(fields)} differently; decide, or give these fields a policy",
            paths=fields,
            conflicts=found.conflicts,
            path=path,
        )
    return found.value


def policies_for(
    path: str, declared: Mapping[str, Mapping[str, FieldPolicy]]
) -> Mapping[str, FieldPolicy] | None:  # fmt: skip
    """Those of the longest declared prefix that `path` lies beneath, or is."""
    fitting = [prefix for prefix in declared if prefix in ("", path) or path.startswith(prefix.removesuffix("/") + "/")]
    return declared[max(fitting, key=len)] if fitting else None


def outage_policies(path: str, declared: Mapping[str, Mapping[str, FieldPolicy]]) -> dict[str, FieldPolicy]:
    """What settles an object that others changed as well while its store was away, by JSON pointer into its record:
    the policies that its value has, else RETRY. Who wrote it, and until when it lasts, is the later side's."""
    chosen = policies_for(path, declared) or {"": FieldPolicy.RETRY}
    later = ("/due", "/body/by", "/body/why", "/body/expires_at")
    return {f"/body/value{pointer}": policy for pointer, policy in chosen.items()} | dict.fromkeys(
        later, FieldPolicy.LAST_WRITER
    )


class Written(NamedTuple):
    """What one object's next state takes: its row, its journal, and the records of what it depends on."""

    writes: tuple[Put | Delete, ...]
    events: tuple[NewEvent, ...]

    @property
    def rows(self) -> int:
        """How many rows of a change it takes."""
        return len(self.writes) + len(self.events)

    @property
    def bytes(self) -> int:
        """How many bytes of a change it takes."""
        bodies = sum(len(write.body) for write in self.writes if isinstance(write, Put))
        return bodies + sum(len(event.body) + len(event.delta) for event in self.events)


def slices(
    items: Sequence[ItemT], *, rows_of: Callable[[ItemT], int], bytes_of: Callable[[ItemT], int]
) -> list[list[ItemT]]:
    """`items` in as few slices as fit into one change each."""
    found: list[list[ItemT]] = []
    rows = size = 0
    for item in items:
        rows += rows_of(item)
        size += bytes_of(item)
        if not found or rows > SLICE_ROWS_MAX or size > SLICE_BYTES_MAX:
            found.append([])
            rows, size = rows_of(item), bytes_of(item)
        found[-1].append(item)
    return found


def written(key: Key, before: Held | None, after: Stored | None, name: str, audit: bytes) -> Written:
    """The rows that make `after` of `before`; None is no object. Nothing where there is nothing to do."""
    if after is None and before is None:
        return Written((), ())
    edges = edge_writes(key, {} if before is None else before.stored.uses, {} if after is None else after.uses)
    if after is None:
        assert before is not None, "looked at above"
        gone = Delete(key=key, expect=before.version)
        return Written((gone, *edges), (NewEvent(key=key, name=name, body=audit),))
    base = ABSENT if before is None else before.version
    body = codec.encode(after, what=f"{key}")
    delta = journal.delta(None if before is None else before.stored.plain(), codec.decode(body), base + 1)
    put = Put(key=key, body=body, expect=base, due=after.expires_at)
    return Written((put, *edges), (NewEvent(key=key, name=name, body=audit, delta=delta),))


def edge_writes(dependent: Key, before: Iterable[str], after: Iterable[str]) -> list[Put | Delete]:
    """The records of dependencies that come and go."""
    old, new = set(before), set(after)
    made: list[Put | Delete] = [
        Put(key=edge_key(name, dependent), body=b"{}", expect=None) for name in sorted(new - old)
    ]
    return made + [Delete(key=edge_key(name, dependent), expect=None) for name in sorted(old - new)]


def moved(expected: Mapping[Key, int], found: Mapping[Key, Held | None]) -> dict[Key, tuple[int, int]]:
    """The objects whose version is not what was expected, with both: 0 is none."""
    versions = {key: 0 if (there := found.get(key)) is None else there.version for key in expected}
    return {key: (expected[key], versions[key]) for key in sorted(expected) if versions[key] != expected[key]}


def conflict_over(differing: Mapping[Key, tuple[int, int]]) -> Conflict:
    """The error that names all objects of a transaction that somebody else changed."""
    words = ", ".join(f"{key.id} (expected version {was}, found {now})" for key, (was, now) in differing.items())
    return Conflict(
        f"transaction: nothing was changed, as others changed {words}; read again and decide again",
        paths=tuple(key.id for key in differing),
        keys=tuple(differing),
        expected={key.id: was for key, (was, _) in differing.items()},
        seen={key.id: now for key, (_, now) in differing.items()},
    )


def requirements(seen: Mapping[Key, int], written_keys: Iterable[Key]) -> tuple[Require, ...]:
    """That what was read and not written is as it was read."""
    own = set(written_keys)
    return tuple(Require(key=key, version=version) for key, version in seen.items() if key not in own)


def sources(key: Key, stored: Stored) -> dict[str, Key]:
    """What an object was made from: each name with its key."""
    return {name: source_key(name, dependent=key) for name in stored.uses}


def stale(known: Mapping[Key, Held | None], *, now: float) -> dict[Key, tuple[str, ...]]:
    """For each of `known` the names of its sources that have changed since, are gone, or are stale themselves.

    `known` holds all sources of what it holds, however far up.
    """
    live = {key: found for key, found in known.items() if found is not None and found.is_live(now)}
    found: dict[Key, set[str]] = {key: set() for key in live}
    below: dict[Key, list[tuple[Key, str]]] = {}
    waiting: list[Key] = []
    for key, there in live.items():
        for name, source in sources(key, there.stored).items():
            below.setdefault(source, []).append((key, name))
            if source not in live or live[source].version != there.stored.uses[name]:
                found[key].add(name)
        if found[key]:
            waiting.append(key)
    while waiting:
        for dependent, name in below.get(waiting.pop(), ()):
            if not found[dependent]:
                waiting.append(dependent)
            found[dependent].add(name)
    return {key: tuple(sorted(names)) for key, names in found.items()}


def order(known: Mapping[Key, Held | None]) -> list[list[Key]]:
    """`known` in layers: each after all of its sources that are among them. Those of a cycle, which is refused when it
    would be made, come last in one layer."""
    above = {
        key: {source for source in sources(key, there.stored).values() if source in known}
        for key, there in known.items()
        if there is not None
    }
    layers: list[list[Key]] = []
    while above:
        layer = sorted(key for key, needs in above.items() if not (needs & above.keys()) - {key})
        layer = layer or sorted(above)
        layers.append(layer)
        for key in layer:
            del above[key]
    return layers


def refuse_cycle(key: Key, uses: Mapping[str, int], known: Mapping[Key, Held | None]) -> None:
    """Raises InvalidInput, with the way, where `key` would depend on itself. `known` holds all above its sources."""
    ways: list[tuple[Key, ...]] = [(source_key(name, dependent=key),) for name in uses]
    reached: set[Key] = set()
    while ways:
        way = ways.pop()
        if way[-1] == key:
            words = " -> ".join(each.id for each in (key, *way))
            raise InvalidInput(f"{key.id}: refused, as it would depend on itself: {words}", cycle=words)
        there = known.get(way[-1])
        if way[-1] in reached or there is None:
            continue
        reached.add(way[-1])
        ways += [(*way, source) for source in sources(way[-1], there.stored).values()]


class CopyOf(NamedTuple):
    """An object as a checkpoint has it."""

    version: int
    stored: Stored


def restored(
    copies: Mapping[Key, CopyOf], present: Mapping[Key, Held | None], bases: Mapping[Key, int], author: Author
) -> dict[Key, Stored | None]:
    """What is to be written so that things are as in `copies`, sources first; None is no object any more.

    What is as it was is not written. Who was fresh in the checkpoint is fresh again: `uses` then name the versions that
    the sources get. `bases`: for what is not there now, the version that its next one counts on from.
    """
    made: dict[Key, Stored | None] = {key: None for key in present if key not in copies and present[key] is not None}
    versions: dict[Key, int] = {}
    layers = order({key: Held(copy.version, copy.stored, 0.0) for key, copy in copies.items()})
    for key in (key for layer in layers for key in layer):
        copy, there = copies[key], present.get(key)
        uses = {
            name: versions[source]
            if source in copies and source in versions and copies[source].version == copy.stored.uses[name]
            else copy.stored.uses[name]
            for name, source in sources(key, copy.stored).items()
        }
        same = there is not None and there.stored.value == copy.stored.value and there.stored.uses == uses
        if same and there is not None and there.stored.expires_at == copy.stored.expires_at:
            versions[key] = there.version
            continue
        made[key] = replace(copy.stored, uses=uses, by=author.by, why=author.why)
        versions[key] = (bases.get(key, 0) if there is None else there.version) + 1
    return made


def is_beneath(key: Key, owner: tuple[str, str], prefix: str) -> bool:
    """Whether a record is an object of `owner` beneath `prefix`."""
    return key.kind == OBJECT and key[:2] == owner and key.id.startswith(prefix)
