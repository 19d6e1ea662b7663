"""Where objects are read from and written to: one store, seen as objects, whose damage is mended when it is met."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from holdfast.clock import Clock, Randomness
from holdfast.errors import Corrupt
from holdfast.ids import uuid7
from holdfast.state.healing import heal
from holdfast.state.names import OBJECT
from holdfast.state.objects import Held, held
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    Change,
    Commit,
    Delete,
    Key,
    NewEvent,
    Put,
    Query,
    Record,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.writing.outcome import commit_surely

PAGE = 500
READ_MAX = 5000
"""Objects that are read at once."""


class Shelf:
    """The objects of one store."""

    def __init__(self, store: Store, clock: Clock, randomness: Randomness) -> None:
        self.store = store
        self._clock = clock
        self._randomness = randomness

    def now_s(self) -> float:
        """The store's time."""
        return self.store.now_s()

    def new_id(self) -> str:
        """An id that nothing else has."""
        return uuid7(self._clock, self._randomness)

    async def held(self, scope: Scope, keys: Sequence[Key]) -> dict[Key, Held | None]:
        """What is under `keys`, also where its time has run out. Raises Corrupt for what nothing can mend."""
        found: dict[Key, Held | None] = {}
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), READ_MAX):
            some = wanted[start : start + READ_MAX]
            found |= {key: held(record) for key, record in zip(some, await self._records(scope, some), strict=True)}
        return found

    async def one(self, scope: Scope, key: Key) -> Held | None:
        """What is under one key."""
        return (await self.held(scope, [key]))[key]

    async def pages(
        self, scope: Scope, prefix: str, owner: tuple[str, str]
    ) -> AsyncIterator[list[tuple[Key, Held]]]:  # fmt: skip
        """All objects of `owner` beneath `prefix`, by path, some at a time; also those whose time has run out."""
        after: str | None = None
        mended: set[Key] = set()
        while True:
            try:
                page = await self.store.scan(scope, Query(kind=OBJECT, prefix=prefix), after=after, limit=PAGE)
            except Corrupt as error:
                await self._mend(error, mended)
                continue
            mine = [record for record in page.records if record.key[:2] == owner]
            yield [(record.key, there) for record in mine if (there := held(record)) is not None]
            if page.next is None:
                return
            after = page.next

    async def commit(
        self,
        scope: Scope,
        *,
        writes: Sequence[Put | Delete] = (),
        requires: Sequence[Require] = (),
        removes: Sequence[RemovePrefix] = (),
        events: Sequence[NewEvent] = (),
    ) -> Commit:
        """All of it or nothing, once, also where an answer is lost."""
        change = Change(
            change_id=self.new_id(), writes=tuple(writes), requires=tuple(requires), removes=tuple(removes),
            events=tuple(events),
        )  # fmt: skip
        return await commit_surely(self.store, scope, change)

    async def _records(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        mended: set[Key] = set()
        while True:
            try:
                return await self.store.read(scope, keys)
            except Corrupt as error:
                await self._mend(error, mended)

    async def _mend(self, error: Corrupt, mended: set[Key]) -> None:
        """Mend what `error` names, once each, or raise it."""
        key = error.facts.get("key")
        if not isinstance(key, Key) or key.kind != OBJECT or key in mended:
            raise error
        mended.add(key)
        if not await heal(self.store, key, self.new_id()):
            raise error

    def __repr__(self) -> str:
        return f"Shelf({self.store!r})"
