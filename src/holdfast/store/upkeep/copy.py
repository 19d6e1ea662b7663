"""One store copied into another, record by record: whatever their kinds, resumable, and proven by reading it back.

Both stores tell what they hold in one order, so comparing them is a merge (`paired`, `difference`: pure). A pass goes
through both and writes what differs, page by page. The copy is whole once a pass over both, as they are by then, has
found nothing to write: so every record was read back and is equal, and a copy that was killed just begins again.

While it goes on, a marker in the target says whose copy it is. No engine opens a store that has one.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import msgspec

from holdfast import codec, faults
from holdfast.errors import Conflict, Corrupt, InvalidInput, Rejected, Unavailable
from holdfast.store.contract.history import History
from holdfast.store.contract.place import without_secret
from holdfast.store.contract.protocol import OpenStore, Snapshot, Store, history_order
from holdfast.store.contract.records import (
    ABSENT,
    SHARED,
    SYSTEM_TENANT,
    Change,
    Commit,
    Key,
    Put,
    RemovePrefix,
    Require,
    Scope,
    Verification,
)
from holdfast.store.writing.outcome import commit_surely

COPY = "copy"
MARKER = Key(SYSTEM_TENANT, SHARED, COPY, "unfinished")
PAGE_KEYS_MAX = 200
PAGE_BYTES_MAX = 8 * 1024 * 1024
"""Bounds on what is written at once: the keys, and the payloads, which only one record alone may exceed."""
PASSES_MAX = 4
"""Two are enough where nobody else writes: one that copies, and one that finds nothing left to copy."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """What a target says of itself until it is whole: the location of its source, and which attempt works on it."""

    source: str
    attempt: str


class Pair(NamedTuple):
    """What two stores hold under one key; None where one holds nothing."""

    source: History | None
    target: History | None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a copy has come: which pass, how many keys it has compared, and what it has written and removed."""

    number: int = 1
    keys: int = 0
    records: int = 0
    events: int = 0
    written: int = 0
    removed: int = 0
    first: str = ""

    @property
    def has_changed(self) -> bool:
        """Whether this pass found a difference; `first` is the first key with one."""
        return bool(self.written or self.removed)


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that is whole: what it holds, and what this attempt wrote and removed on the way."""

    records: int
    events: int
    written: int
    removed: int
    passes: int
    is_resumed: bool


def difference(pair: Pair) -> History | None:
    """What must be written so that the target holds under this key what the source does; None where it does."""
    source, target = pair
    if source is None:
        assert target is not None, "a pair has at least one side"
        return History(key=target.key, row=None, events=())
    if target is None or _facts(source) != _facts(target):
        return source
    return None


async def paired(source: AsyncIterator[History], target: AsyncIterator[History]) -> AsyncGenerator[Pair, None]:
    """What two stores hold, key by key: a merge of two sequences in `history_order`. Raises Corrupt where one is not
    in that order, for then the merge would take what is there for missing."""
    ours, theirs = _ordered(source, "source"), _ordered(target, "target")
    mine, its = await anext(ours, None), await anext(theirs, None)
    while mine is not None or its is not None:
        if its is None or (mine is not None and history_order(mine.key) < history_order(its.key)):
            yield Pair(mine, None)
            mine = await anext(ours, None)
        elif mine is None or history_order(its.key) < history_order(mine.key):
            yield Pair(None, its)
            its = await anext(theirs, None)
        else:
            yield Pair(mine, its)
            mine, its = await anext(ours, None), await anext(theirs, None)


async def histories(store: OpenStore) -> AsyncGenerator[History, None]:
    """All that a store holds, but for the marker of a copy; the snapshot is let go at the end of it."""
    async with store.snapshot() as view:
        async for history in _but_marker(view):
            yield history


async def refuse_unfinished(store: Store) -> None:
    """Raises Rejected for a store that is half a copy: what a run does there would be undone by the rest of it."""
    if (marker := await marker_of(store)) is not None:
        raise Rejected(
            f"{place_of(store)}: expected a whole store, saw an unfinished copy of {marker.source}; "
            "finish it by the same `holdfast migrate` again",
            source=marker.source,
        )


async def marker_of(store: Store) -> Marker | None:
    """Whose copy a store is, while it is not whole."""
    (record,) = await store.read(Scope.system(), [MARKER])
    return None if record is None else codec.decode(record.body, Marker, what="marker of a copy")


async def copy(
    source: OpenStore,
    target: OpenStore,
    *,
    attempt: str,
    overwrite: bool = False,
    check: Callable[[], Awaitable[None]],
    on_progress: Callable[[Progress, Verification], None] = lambda progress, whole: None,
) -> Copied:
    """Make `target` hold exactly what `source` holds; versions, epochs, positions and deadlines go on where they were.

    `attempt` names this attempt, `check` raises where somebody works on either store: it is called first and last.
    `overwrite` gives up what the target holds, unless that is an earlier attempt at this copy, which is gone on with.
    Raises Rejected (a target that is not empty, an unfinished source), InvalidInput (one store twice), Corrupt (the
    source is damaged, or the target does not give back what was written) and Unavailable (somebody else writes).
    """
    await check()
    await refuse_unfinished(source)
    _check_two(source, target)
    whole = await source.verify()
    if not whole.is_clean:
        raise Corrupt(
            f"{place_of(source)}: expected a sound store to copy, saw {len(whole.problems)} problems, the "
            f"first: {whole.problems[0]}; repair it, or restore a backup of it, and copy that",
            problems=[str(problem) for problem in whole.problems],
        )
    is_resumed = await _check_free(source, target, overwrite=overwrite)
    attempted = _Attempt(source, target, attempt, lambda progress: on_progress(progress, whole))
    await attempted.begin()
    passes = await attempted.copy()
    await check()
    await attempted.end()
    return Copied(
        records=passes[-1].records,
        events=passes[-1].events,
        written=sum(each.written for each in passes),
        removed=sum(each.removed for each in passes),
        passes=len(passes),
        is_resumed=is_resumed,
    )


class _Attempt:
    """One attempt at a copy, from its marker to the removal of it."""

    def __init__(
        self, source: OpenStore, target: OpenStore, name: str, on_progress: Callable[[Progress], None]
    ) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._on_progress = on_progress
        self._version = ABSENT
        self._changes = 0
        self._last: Progress = Progress()

    async def begin(self) -> None:
        """Mark the target as ours. An earlier attempt that should still be alive finds that out, and stops."""
        (found,) = await self._target.read(Scope.system(), [MARKER])
        marker = Marker(source=place_of(self._source), attempt=self._name)
        put = Put(key=MARKER, body=codec.encode(marker), expect=ABSENT if found is None else found.version)
        self._version = (await self._commit(Change(change_id=self._change_id(), writes=(put,)))).versions[0]
        seen = await marker_of(self._source)
        if seen is not None and seen.attempt == self._name:  # two names for one place
            await self._unmark()
            raise _one_store(self._source)

    async def copy(self) -> list[Progress]:
        """Pass after pass until one has found nothing to write; what each did."""
        passes: list[Progress] = []
        while not passes or passes[-1].has_changed:
            if len(passes) == PASSES_MAX:
                raise Unavailable(
                    f"copy of {place_of(self._source)}: expected nothing to differ after {PASSES_MAX} "
                    f"passes, saw {passes[-1].first}; does anybody write to it, or to the target? Stop him and go on"
                )
            async with self._source.snapshot() as view:
                passes.append(await self._pass(view, Progress(number=len(passes) + 1)))
                if not passes[-1].has_changed:
                    faults.point("copy-adopt")
                    await self._target.adopt(await view.streams(), incarnation=view.incarnation)
        self._last = passes[-1]
        return passes

    async def end(self) -> None:
        """Let the target verify itself, and say that it is whole."""
        found = await self._target.verify()
        expected = self._last.records + 1, self._last.events  # one more record: the marker
        if not found.is_clean or (found.records, found.events) != expected:
            problem = found.problems[0] if found.problems else f"{found.records - 1} records, {found.events} events"
            raise Corrupt(
                f"{place_of(self._target)}: expected a sound copy of {self._last.records} records and "
                f"{self._last.events} events, saw {problem}; check its disk, and copy into a new place"
            )
        faults.point("copy-end")
        await self._unmark()

    async def _pass(self, view: Snapshot, progress: Progress) -> Progress:
        """Go once through both stores, and write what differs."""
        page: list[History] = []
        page_bytes = 0
        async with (
            contextlib.aclosing(histories(self._target)) as there,
            contextlib.aclosing(paired(_but_marker(view), there)) as pairs,
        ):
            async for pair in pairs:
                if (wanted := difference(pair)) is not None:
                    page.append(wanted)
                    page_bytes += _bytes_of(wanted)
                progress = _counted(progress, pair, wanted)
                if len(page) >= PAGE_KEYS_MAX or page_bytes >= PAGE_BYTES_MAX:
                    await self._write(page)
                    page, page_bytes = [], 0
                if progress.keys % PAGE_KEYS_MAX == 0:
                    self._on_progress(progress)
        if page:
            await self._write(page)
        self._on_progress(progress)
        return progress

    async def _write(self, page: list[History]) -> None:
        """Write a page, unless another attempt has taken the copy over: what it has proven must stay as it is."""
        (found,) = await self._target.read(Scope.system(), [MARKER])
        if found is None or found.version != self._version:
            raise Conflict(
                f"copy into {place_of(self._target)}: another process took it over; let that one finish",
                key=MARKER,
                expected=self._version,
                seen=None if found is None else found.version,
            )
        await self._target.load(page)
        faults.point("copy-page")

    async def _unmark(self) -> None:
        gone = RemovePrefix(tenant=MARKER.tenant, user=MARKER.user, kind=COPY, prefix=MARKER.id)
        ours = Require(key=MARKER, version=self._version)
        try:
            await self._commit(Change(change_id=self._change_id(), requires=(ours,), removes=(gone,)))
        except Conflict:
            # A removal leaves no trace by which a lost answer could be looked up: but then the marker is not there.
            if await marker_of(self._target) is not None:
                raise

    async def _commit(self, change: Change) -> Commit:
        return await commit_surely(self._target, Scope.system(), change)

    def _change_id(self) -> str:
        self._changes += 1
        return f"{self._name}:{self._changes}"


def _check_two(source: OpenStore, target: OpenStore) -> None:
    places = place_of(source), place_of(target)
    if source is target or (places[0] == places[1] and source.capabilities.many_processes):
        raise _one_store(source)


async def _check_free(source: OpenStore, target: OpenStore, *, overwrite: bool) -> bool:
    """Raises Rejected where the target holds what nobody gave up; whether it is an earlier attempt at this copy."""
    marker = await marker_of(target)
    if marker is not None and marker.source == place_of(source):
        return True
    if overwrite:
        return False
    place = place_of(target)
    if marker is not None:
        raise Rejected(
            f"{place}: expected an empty store, saw an unfinished copy of {marker.source}; finish that one, or say "
            "overwrite (--overwrite) to give it up"
        )
    async with contextlib.aclosing(histories(target)) as held:
        async for history in held:
            raise Rejected(
                f"{place}: expected an empty store, saw {history.key} and perhaps more in it; say overwrite "
                "(--overwrite) to lose it"
            )
    return False


def place_of(store: Store) -> str:
    """Where a store is, as it may be told."""
    return without_secret(store.capabilities.location)


def _one_store(store: Store) -> InvalidInput:
    return InvalidInput(f"{place_of(store)}: expected two stores, saw the same one as source and target")


async def _but_marker(view: Snapshot) -> AsyncIterator[History]:
    async for history in view.histories():
        if history.key != MARKER:
            yield history


async def _ordered(found: AsyncIterator[History], what: str) -> AsyncIterator[History]:
    last: Key | None = None
    async for history in found:
        if last is not None and history_order(history.key) <= history_order(last):
            raise Corrupt(f"{what}: expected its keys in order, saw {history.key} behind {last}; verify it", key=last)
        last = history.key
        yield history


def _facts(history: History) -> tuple[object, ...]:
    return history.row, tuple(history.events), history.anchor


def _bytes_of(history: History) -> int:
    """The payload bytes of a history, about as many as writing it takes."""
    body = history.row.record.body if history.row is not None and history.row.record is not None else b""
    return len(body) + sum(len(event.body) + len(event.delta) for event in history.events)


def _counted(before: Progress, pair: Pair, wanted: History | None) -> Progress:
    """`before` and one key more."""
    source = pair.source
    is_live = source is not None and source.row is not None and not source.row.deleted
    is_gone = source is None
    return msgspec.structs.replace(
        before,
        keys=before.keys + 1,
        records=before.records + is_live,
        events=before.events + (len(source.events) if source is not None else 0),
        written=before.written + (wanted is not None and not is_gone),
        removed=before.removed + is_gone,
        first=before.first or ("" if wanted is None else str(wanted.key)),
    )
