"""`SyncManager`: how far a cache is behind its truth, and what becomes of two who wrote the same object.

A mirror's Redis never holds the only copy of anything, so there is nothing to merge between cache and truth. What has
to be merged is what two writers made of one version of an object. The version that both began from is in the journal.
For what a Redis alone missed while it was away the same rules hold: see `fallback`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from holdfast import codec
from holdfast.clock import Randomness, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import Conflict, MergeConflict, Unavailable
from holdfast.merge import NOTHING, FieldConflict, FieldPolicy, Merged, Stamp, is_same, merge
from holdfast.names import check_id
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import ABSENT, Change, Event, Key, NewEvent, Put, Record, Scope
from holdfast.store.fallback.rules import UNMERGED
from holdfast.store.fallback.unmerged import Unmerged, drop, unmerged
from holdfast.store.mirror.figures import SyncFigures
from holdfast.store.rows import journal
from holdfast.store.writing.outcome import commit_surely

ATTEMPTS_MAX = 20
"""How often one write may lose against others before it gives up."""
STATE = "state"
"""The kind of the records that objects are kept in."""
WRITTEN = "written"
"""The name of the events that the writes leave in the journal."""


@runtime_checkable
class Mirrored(Protocol):
    """A store with a cache before it."""

    def figures(self) -> SyncFigures: ...

    async def flush(self) -> None: ...

    async def invalidate(self) -> None: ...


class Held(NamedTuple):
    """An object as it stands: its version (0: there is none), its value (then NOTHING), and whether a write of it put
    somebody else's changes together with its own."""

    version: int
    value: Any
    is_merged: bool = False


class SyncManager:
    """Keeps cache and truth together, and writers apart. For any store; one without a cache has nothing to keep.

    Objects are JSON values, named by an id within the context's tenant and user.

    Example::

        sync = SyncManager(open_store("hybrid+postgresql://me@host/db?cache=redis://host:6379/0"))
        made = await sync.write(context, "plan", {"tags": ["a"], "n": 1}, base_version=0, by="ana")
        await sync.write(context, "plan", {"tags": ["a", "b"], "n": 1}, base_version=made.version, by="bob",
                         policies={"/tags": FieldPolicy.UNION})
    """

    def __init__(self, store: Store, *, chance: Randomness | None = None) -> None:
        self._store = store
        self._chance = chance or system_randomness()

    # -- cache and truth ----------------------------------------------------------------------------------------------

    def figures(self) -> SyncFigures:
        """How far the cache is behind, and what it answered. No I/O. All zero without a cache."""
        return self._store.figures() if isinstance(self._store, Mirrored) else SyncFigures()

    async def flush(self) -> None:
        """Returns once every commit of this process so far is in the cache, or the cache is lost and by-passed."""
        if isinstance(self._store, Mirrored):
            await self._store.flush()

    async def invalidate(self) -> None:
        """Make all that is cached worthless, in every process, within a second: after the truth was changed by hand."""
        if isinstance(self._store, Mirrored):
            await self._store.invalidate()

    # -- outages ------------------------------------------------------------------------------------------------------

    async def unmerged(self, context: UserExecutionContext) -> list[Unmerged]:
        """What was written while Redis alone was away (`?fallback=memory`) and could not be merged when it was back:
        what of, its value, why, and in which fields. The first 1000 of the context's user and of his tenant."""
        require_context(context)
        return await unmerged(self._store, Scope.of_user(context.tenant, context.user))

    async def drop(self, context: UserExecutionContext, id: str, *, by: str) -> bool:
        """Forget one of them, by its `id`, that somebody has decided about; False where there is none."""
        scope = Scope.of_user(context.tenant, context.user)
        found = [each for each in await self.unmerged(context) if each.id == id]
        keys = [Key(each.key.tenant, each.key.user, UNMERGED, id) for each in found]
        return any([await drop(self._store, scope, key, by=by) for key in keys])

    # -- writers ------------------------------------------------------------------------------------------------------

    async def read(self, context: UserExecutionContext, id: str) -> Held:
        """The object as it stands: what a write can start from."""
        present = await self._present(*_place(context, id))
        return Held(present.version, present.value)

    async def look(self, context: UserExecutionContext, id: str, *, least_version: int = 0) -> Held:
        """As `read`, for somebody who only looks: from the cache where there is one, about a second behind at most
        while the truth answers, 30 s at worst, and never below `least_version`."""
        scope, key = _place(context, id)
        (record,) = await read_recent(self._store, scope, [key], least_versions=[least_version])
        return Held(ABSENT, NOTHING) if record is None else Held(record.version, codec.decode(record.body))

    async def write(
        self,
        context: UserExecutionContext,
        id: str,
        value: Any,
        *,
        base_version: int,
        by: str,
        policies: Mapping[str, FieldPolicy] | None = None,
        at_s: float | None = None,
    ) -> Held:
        """Write `value`, which `by` made of the object at `base_version` (0: there was none).

        Where others wrote meanwhile, what they made of it and `value` are merged field by field. A field without a
        policy has RETRY: whatever both changed is a conflict. `at_s` is when `by` made it, for LAST_WRITER (now, if
        None), in epoch seconds; theirs is when it was committed. Raises MergeConflict, with the paths and what each
        side has there; Conflict where the journal no longer has the base; Unavailable after 20 lost races.
        """
        scope, key = _place(context, id)
        codec.encode(value, what=f"{key}")
        known = {"": FieldPolicy.RETRY} | dict(policies or {})
        mine = Stamp(self._store.now_s() if at_s is None else at_s, by)
        base: Any = NOTHING
        for _ in range(ATTEMPTS_MAX):
            present = await self._present(scope, key)
            if present.version == base_version:
                merged = Merged(value=value, conflicts=())
            else:
                if base is NOTHING and base_version:
                    base = await self._value_at(scope, key, base_version)
                merged = _merged(base, value, present, known, mine)
            if not merged.is_clean:
                raise _conflict(key, base_version, present.version, merged)
            is_merged = present.version != base_version and not is_same(merged.value, value)
            if (done := await self._commit(scope, key, present, merged.value, by)) is not None:
                return Held(done, merged.value, is_merged)
        raise Unavailable(f"{key}: lost {ATTEMPTS_MAX} races against other writers; try again", key=key)

    async def update(self, context: UserExecutionContext, id: str, decide: Callable[[Any], Any], *, by: str) -> Held:
        """Write what `decide` makes of the object (NOTHING: there is none); asked anew where others were quicker.

        Raises what `decide` raises, and Unavailable after 20 lost races.
        """
        scope, key = _place(context, id)
        for _ in range(ATTEMPTS_MAX):
            present = await self._present(scope, key)
            value = decide(present.value)
            if (done := await self._commit(scope, key, present, value, by)) is not None:
                return Held(done, value)
        raise Unavailable(f"{key}: lost {ATTEMPTS_MAX} races against other writers; try again", key=key)

    async def _present(self, scope: Scope, key: Key) -> _Present:
        record = (await self._store.read(scope, [key]))[0]
        if record is None:
            return _Present(None, NOTHING, None)
        events = await self._store.events(scope, record=key, after_version=record.version - 1)
        return _Present(record, codec.decode(record.body), events[-1] if events else None)

    async def _value_at(self, scope: Scope, key: Key, version: int) -> Any:
        """The object at `version`, from the journal. Raises Conflict where it is not there."""
        since = max(version // journal.SNAPSHOT_EVERY * journal.SNAPSHOT_EVERY - 1, 0)
        events = await self._store.events(scope, record=key, after_version=since, limit=journal.SNAPSHOT_EVERY * 10)
        told = [event for event in events if event.version <= version]
        if not told or not journal.is_snapshot(told[0]):
            told = [event async for event in self._journal_until(scope, key, version)]
        found = journal.rebuilt(told)
        if found is None or found.version != version:
            raise Conflict(
                f"{key}: its journal does not hold version {version} to merge from; read it and decide again",
                key=key,
                expected=version,
                seen=found.version if found else None,
            )
        return found.body

    async def _journal_until(self, scope: Scope, key: Key, version: int) -> AsyncIterator[Event]:
        after = None
        while page := await self._store.events(scope, record=key, after=after, limit=1000):
            for event in page:
                if event.version > version:
                    return
                yield event
            after = page[-1].position

    async def _commit(self, scope: Scope, key: Key, present: _Present, value: Any, by: str) -> int | None:
        """The version of the object once it is `value`; None where somebody else was quicker."""
        if is_same(value, present.value):
            return present.version
        delta = journal.delta(present.journalled, value, present.version + 1)
        event = NewEvent(key=key, name=WRITTEN, body=codec.encode({"by": by}), delta=delta)
        change = Change(
            change_id=f"sync:{self._chance.getrandbits(128):032x}",
            writes=(present.put(key, codec.encode(value, what=f"{key}")),),
            events=(event,),
        )
        try:
            return (await commit_surely(self._store, scope, change)).versions[0]
        except Conflict:
            return None


def _place(context: UserExecutionContext, id_: str) -> tuple[Scope, Key]:
    """Where the context's object of that id is, and what may be seen from there."""
    require_context(context)
    key = Key(context.tenant, context.user, STATE, check_id("id", id_))
    return Scope.of_user(context.tenant, context.user), key


class _Present(NamedTuple):
    """An object as it stands, and the last event about this version of it."""

    record: Record | None
    value: Any
    event: Event | None

    @property
    def version(self) -> int:
        return self.record.version if self.record is not None else ABSENT

    @property
    def stamp(self) -> Stamp:
        """When it was written, and by whom, where its journal tells."""
        told = codec.decode(self.event.body) if self.event is not None else {}
        by = told.get("by", "") if isinstance(told, dict) else ""
        return Stamp(self.record.written_at if self.record is not None else 0.0, str(by))

    @property
    def journalled(self) -> Any:
        """What the next delta can start from: the value, if the journal holds it; None, if not."""
        return self.value if self.event is not None and self.event.delta else None

    def put(self, key: Key, body: bytes) -> Put:
        """The write of another body. What else the record has stays."""
        was = self.record
        if was is None:
            return Put(key=key, body=body, expect=ABSENT)
        return Put(
            key=key,
            body=body,
            expect=was.version,
            status=was.status,
            due=was.due,
            queue=was.queue,
            labels=was.labels,
        )


def _merged(base: Any, value: Any, present: _Present, policies: Mapping[str, FieldPolicy], mine: Stamp) -> Merged:
    if present.record is None and not is_same(base, value):  # nobody can say when it was deleted, or by whom
        gone = FieldConflict(path="", base=base, ours=value, theirs=NOTHING)
        return Merged(value=base, conflicts=(gone,))
    return merge(base, value, present.value, policies=policies, stamps=(mine, present.stamp))


def _conflict(key: Key, base_version: int, version: int, merged: Merged) -> MergeConflict:
    paths = [conflict.path for conflict in merged.conflicts]
    shown = ", ".join(path or "the whole value" for path in paths)
    return MergeConflict(
        f"{key}: expected version {base_version}, found {version}, and both changed {shown}; read it and decide again",
        key=key,
        expected=base_version,
        seen=version,
        paths=paths,
        conflicts=merged.conflicts,
    )
