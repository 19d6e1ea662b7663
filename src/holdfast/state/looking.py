"""Looking at shared state: what there is, how it was, what depends on what, and what changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar, overload

from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import DeadlineExceeded, NotFound, Rejected
from holdfast.state import checkpoints, dependencies, past, rules, watching
from holdfast.state.checkpoints import StateCheckpoint
from holdfast.state.names import checked_path, checked_prefix, object_key, owner_of, scope_of
from holdfast.state.objects import StateChange, StateObject, shown
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import Key, Position, Scope

T = TypeVar("T")


class StateViewer:
    """The verbs of a manager that change nothing."""

    def __init__(self) -> None:
        self._shelf_now: Shelf | None = None

    @overload
    async def get(
        self, context: UserExecutionContext, path: str, *, shared: bool = False, version: int | None = None
    ) -> StateObject[Any]: ...
    @overload
    async def get(
        self,
        context: UserExecutionContext,
        path: str,
        kind: type[T],
        *,
        shared: bool = False,
        version: int | None = None,
    ) -> StateObject[T]: ...
    async def get(
        self,
        context: UserExecutionContext,
        path: str,
        kind: Any = None,
        *,
        shared: bool = False,
        version: int | None = None,
    ) -> StateObject[Any]:
        """The object at `path` as `kind` (a dataclass, struct or pydantic model; without one as JSON has it), or as it
        was at `version`. Raises NotFound, InvalidInput where it is no `kind`, Corrupt where nothing can mend it."""
        key, scope = self._place(context, path, shared)
        if version is not None:
            return shown(key, await past.at_version(self._shelf, scope, key, version), kind)
        there = await self._shelf.one(scope, key)
        if there is None or not there.is_live(self._shelf.now_s()):
            raise NotFound(f"{path}: there is no such object", path=path)
        stale = await dependencies.staleness(self._shelf, scope, {key: there})
        return shown(key, there, kind, stale[key])

    @overload
    async def find(
        self, context: UserExecutionContext, path: str, *, shared: bool = False
    ) -> StateObject[Any] | None: ...
    @overload
    async def find(
        self, context: UserExecutionContext, path: str, kind: type[T], *, shared: bool = False
    ) -> StateObject[T] | None: ...
    async def find(
        self, context: UserExecutionContext, path: str, kind: Any = None, *, shared: bool = False
    ) -> StateObject[Any] | None:
        """As `get`; None where there is none."""
        try:
            return await self.get(context, path, kind, shared=shared)
        except NotFound:
            return None

    @overload
    async def get_many(
        self, context: UserExecutionContext, paths: Iterable[str], *, shared: bool = False
    ) -> dict[str, StateObject[Any]]: ...
    @overload
    async def get_many(
        self, context: UserExecutionContext, paths: Iterable[str], kind: type[T], *, shared: bool = False
    ) -> dict[str, StateObject[T]]: ...
    async def get_many(
        self, context: UserExecutionContext, paths: Iterable[str], kind: Any = None, *, shared: bool = False
    ) -> dict[str, StateObject[Any]]:
        """Those of `paths` that there are, by path, read at once."""
        keys = [self._place(context, path, shared)[0] for path in paths]
        scope, now = scope_of(context), self._shelf.now_s()
        found = await self._shelf.held(scope, keys)
        live = {key: there for key, there in found.items() if there is not None and there.is_live(now)}
        stale = await dependencies.staleness(self._shelf, scope, live)
        return {key.id: shown(key, there, kind, stale[key]) for key, there in live.items()}

    @overload
    def scan(
        self, context: UserExecutionContext, prefix: str = "", *, shared: bool = False
    ) -> AsyncIterator[StateObject[Any]]: ...
    @overload
    def scan(
        self, context: UserExecutionContext, prefix: str, kind: type[T], *, shared: bool = False
    ) -> AsyncIterator[StateObject[T]]: ...
    async def scan(
        self, context: UserExecutionContext, prefix: str = "", kind: Any = None, *, shared: bool = False
    ) -> AsyncIterator[StateObject[Any]]:
        """All objects beneath `prefix`, by path."""
        owner, scope = self._owner(context, shared)
        async for page in self._shelf.pages(scope, checked_prefix(prefix), owner):
            live = {key: there for key, there in page if there.is_live(self._shelf.now_s())}
            stale = await dependencies.staleness(self._shelf, scope, live)
            for key, there in live.items():
                yield shown(key, there, kind, stale[key])

    async def count(self, context: UserExecutionContext, prefix: str = "", *, shared: bool = False) -> int:
        """How many objects there are beneath `prefix`."""
        owner, scope = self._owner(context, shared)
        now = self._shelf.now_s()
        pages = self._shelf.pages(scope, checked_prefix(prefix), owner)
        return sum([sum(there.is_live(now) for _, there in page) async for page in pages])

    async def history(
        self, context: UserExecutionContext, path: str, *, shared: bool = False
    ) -> AsyncIterator[StateChange]:
        """Every change of an object, oldest first: version, who, when, why."""
        key, scope = self._place(context, path, shared)
        async for change in past.changes(self._shelf, scope, key):
            yield change

    async def position(self, context: UserExecutionContext, *, shared: bool = False) -> str:
        """The present end of the journal, for a `watch` that is to hear of all that comes after."""
        owner, scope = self._owner(context, shared)
        return str(await watching.head(self._shelf, scope, owner))

    async def watch(
        self, context: UserExecutionContext, path: str = "", *, shared: bool = False, after: str | None = None
    ) -> AsyncIterator[StateChange]:
        """Each change of the object at `path` and of those beneath it, in order and without end. `after`: a `position`
        to go on from; without it, from when the first change is asked for."""
        owner, scope = self._owner(context, shared)
        if path:
            checked_path(path)
        start = await watching.head(self._shelf, scope, owner) if after is None else Position.parse(after)
        prefix = checked_prefix(path)
        async for change in watching.watch(self._shelf, scope, owner, prefix, path, after=start):
            yield change

    async def dependents(self, context: UserExecutionContext, path: str, *, shared: bool = False) -> list[str]:
        """The paths of all that depends on an object, however far down, sources first."""
        key, scope = self._place(context, path, shared)
        found = await dependencies.below(self._shelf, scope, [key])
        return [each.id for layer in rules.order(found) for each in layer]

    async def checkpoints(self, context: UserExecutionContext, *, shared: bool = False) -> list[StateCheckpoint]:
        """The checkpoints there are, by name."""
        self._ready(context)
        return await checkpoints.listed(self._shelf, context, shared=shared)

    @property
    def _shelf(self) -> Shelf:
        if self._shelf_now is None:
            raise Rejected(f"{self!r}: it is not open; use it as `async with StateManager(...) as state`")
        return self._shelf_now

    def _ready(self, context: UserExecutionContext) -> None:
        """Raises WrongContext for anything but a context, and DeadlineExceeded for one whose time is over."""
        require_context(context)
        if context.deadline_s is not None and self._shelf.now_s() >= context.deadline_s:
            raise DeadlineExceeded(f"state: the deadline of {context.user}'s context is over", what="state")

    def _place(self, context: UserExecutionContext, path: str, shared: bool) -> tuple[Key, Scope]:
        self._ready(context)
        return object_key(context, path, shared=shared), scope_of(context)

    def _owner(self, context: UserExecutionContext, shared: bool) -> tuple[tuple[str, str], Scope]:
        self._ready(context)
        return owner_of(context, shared), scope_of(context)
