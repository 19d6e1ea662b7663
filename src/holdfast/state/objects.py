"""Objects: as they are stored, and as their readers see them; values of any type to JSON and back.

What is stored says of itself who made it, why, from what and until when, so that the journal alone can rebuild all of
it. A value is a JSON value, a dataclass, a msgspec struct or a pydantic model; pydantic is not imported for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec

from holdfast import codec
from holdfast.clock import utc
from holdfast.errors import InvalidInput
from holdfast.names import Asker
from holdfast.store.contract.records import SHARED, Event, Key, Record

T = TypeVar("T")


class Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an object's record. `uses`: the versions of other objects that the value was made from."""

    value: Any
    by: str
    why: str = ""
    uses: dict[str, int] = {}
    expires_at: float | None = None

    def plain(self) -> dict[str, Any]:
        """As the journal tells it."""
        told: dict[str, Any] = codec.plain(self)
        return told


class Held(NamedTuple):
    """An object as it was read. `version` is that of its record also where its time has run out."""

    version: int
    stored: Stored
    at: float

    def is_live(self, now: float) -> bool:
        """Whether its time has not run out."""
        return self.stored.expires_at is None or self.stored.expires_at > now


@dataclass(frozen=True, slots=True, kw_only=True)
class StateObject(Generic[T]):
    """An object as it stood when it was read.

    `version` grows with every change of the path, also over a deletion. `who` made this version, `when` and `why`.
    `stale` names the objects it was made from that have changed since, or are stale themselves; empty where it is
    fresh. `uses` says which versions it was made from, `expires_at` when it will be gone.

    Example::

        plan = await state.get(context, "incident/plan", Plan)
        await state.set(context, "incident/plan", better(plan.value), expect=plan.version, why="second thought")
    """

    path: str
    value: T
    version: int
    who: str
    when: datetime
    why: str = ""
    stale: tuple[str, ...] = ()
    shared: bool = False
    uses: Mapping[str, int] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One change of one object, as the journal keeps it for good, and as a watcher hears of it.

    `what` is "set", "updated", "merged", "deleted", "expired", "restored", "repaired" or "passed_by" (it stays as
    it is, and what somebody wrote while its Redis was away is kept aside); or "gap" from a watch whose
    place in the past is not kept any more: look at everything anew. `position` is where a watch may go on from.
    """

    path: str
    version: int
    what: str
    who: str
    when: datetime
    why: str
    position: str
    shared: bool = False


class Author(NamedTuple):
    """Who changes something, and the journal's words for it."""

    by: str
    why: str
    audit: bytes


def author(context: Asker, by: str, why: str) -> Author:
    """The author of a change: the context's user, or the agent that acts for him."""
    by = by or context.user
    facts = {"agent": by, "user": context.user, "run": context.run, "request": context.request, "why": why}
    return Author(by, why, codec.encode({name: fact for name, fact in facts.items() if fact}, what="why"))


def plain(value: object, *, what: str) -> Any:
    """`value` as JSON values. Raises InvalidInput where it cannot be stored, or is too large."""
    try:
        data = codec.encode(value, what=what)
    except InvalidInput:  # there may be models in it
        data = codec.encode(_dumped(value), what=what)
    return codec.decode(data, what=what)


def _dumped(value: object) -> object:
    """`value` with pydantic models as what they dump; they are known by their methods."""
    if isinstance(value, list | tuple):
        return [_dumped(item) for item in value]
    if isinstance(value, dict):
        return {key: _dumped(item) for key, item in value.items()}
    dump = getattr(value, "model_dump", None)
    return value if dump is None or isinstance(value, type) else dump(mode="json")


def typed(value: Any, kind: type[T] | None, *, what: str) -> T:
    """JSON values as `kind`; as they are where it is None. Raises InvalidInput, naming the path."""
    if kind is None:
        return cast(T, value)
    validate = getattr(kind, "model_validate", None)
    if validate is None:
        return codec.decode(codec.encode(value, what=what), kind, what=what)
    try:
        return cast(T, validate(value))
    except ValueError as error:
        raise InvalidInput(f"{what}: expected {kind.__name__}, saw something else: {error}", what=what) from error


def held(record: Record | None) -> Held | None:
    """What an object's record holds."""
    if record is None:
        return None
    return Held(record.version, codec.decode(record.body, Stored, what=f"{record.key}"), record.written_at)


def shown(key: Key, found: Held, kind: type[T] | None, stale: tuple[str, ...] = ()) -> StateObject[T]:
    """An object as its readers see it."""
    return shown_as(key, found, typed(found.stored.value, kind, what=key.id), stale)


def shown_as(key: Key, found: Held, value: T, stale: tuple[str, ...] = ()) -> StateObject[T]:
    """An object as who gave it `value` sees it."""
    stored = found.stored
    return StateObject(
        path=key.id,
        value=value,
        version=found.version,
        who=stored.by,
        when=utc(found.at),
        why=stored.why,
        stale=stale,
        shared=key.user == SHARED,
        uses=dict(stored.uses),
        expires_at=None if stored.expires_at is None else utc(stored.expires_at),
    )


def told(event: Event) -> StateChange:
    """A row of the journal as a change."""
    facts = codec.decode(event.body, dict[str, Any], what=f"event of {event.key}")
    metadata = facts.get("metadata")
    why = metadata.get("what", "") if isinstance(metadata, dict) else facts.get("why", "")
    return StateChange(
        path=event.key.id,
        version=event.version,
        what=event.name,
        who=facts.get("agent", ""),
        when=utc(event.at),
        why=why,
        position=str(event.position),
        shared=event.key.user == SHARED,
    )
