"""The state that a network of agents shares: objects with versions, changed one by one or together, kept and watched.

Every verb takes the context of whom it works for, first. His own objects are meant; `shared=True` means those that the
users of his tenant share. Nothing else exists for him.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from holdfast.clock import Clock, Randomness, SystemClock, parse_duration_s, system_randomness
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, InvalidInput, NotFound, Rejected
from holdfast.logs import get_logger
from holdfast.merge import FieldPolicy, Stamp
from holdfast.state import checkpoints, dependencies, past, rules
from holdfast.state.checkpoints import StateCheckpoint
from holdfast.state.folding import Folder
from holdfast.state.keeper import Keeper, sweep
from holdfast.state.looking import StateViewer
from holdfast.state.names import checked_prefix, scope_of
from holdfast.state.objects import StateObject, author, plain, shown, shown_as, typed
from holdfast.state.opening import opened
from holdfast.state.rules import Asked, Keep, Seen, Ttl
from holdfast.state.shelf import Shelf
from holdfast.state.transaction import Lines, StateTransaction
from holdfast.store.contract.beyond import weakness_of
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Key
from holdfast.store.open import StateStorage
from holdfast.tasks import Supervisor

T = TypeVar("T")
ATTEMPTS_MAX = 200
"""Bound on the races that a transaction may lose."""

log = get_logger("holdfast.state")


class StateManager(StateViewer):
    """Shared state on a store. `storage`: a URL as `open_store` takes it, a `StateStorage` with its `url`, or an open
    store, such as an engine's `store`, which stays open.

    `test_mode` keeps everything in memory, whatever `storage` says. `or_memory`: of a Redis, as `?fallback=memory` in
    its URL: while it cannot be reached go on in memory, and say so (`weakness`); for development. `policies`: by path
    or prefix, and there by JSON pointer, what `merge` does about a field that both sides changed, and what happens to
    one that others changed as well while Redis was away (RETRY without one: a conflict, kept aside). Objects that are
    over their time are removed every `sweep_every`; None leaves that to others.

    Example::

        async with StateManager("sqlite:///app.db") as state:
            await state.set(context, "incident/plan", Plan(steps=["look"]), why="triage")
            plan = await state.get(context, "incident/plan", Plan)
    """

    def __init__(
        self,
        storage: str | StateStorage | Store = StateStorage.MEMORY,
        *,
        url: str = "",
        test_mode: bool = False,
        or_memory: bool = False,
        policies: Mapping[str, Mapping[str, FieldPolicy]] | None = None,
        sweep_every: str | float | None = "1m",
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        super().__init__()
        self._storage = storage
        self._url = url
        self._test_mode = test_mode
        self._or_memory = or_memory
        self._policies = dict(policies or {})
        self._sweep_every_s = None if sweep_every is None else parse_duration_s(sweep_every)
        if self._sweep_every_s is not None and self._sweep_every_s <= 0:
            raise InvalidInput(f"StateManager: expected sweep_every of more than 0 or None, saw {sweep_every!r}")
        self._clock = clock
        self._randomness = randomness
        self._exit = AsyncExitStack()
        self._lines = Lines()
        self._folder_now: Folder | None = None
        self._keeper: Keeper | None = None

    async def __aenter__(self) -> Self:
        if self._shelf_now is not None:
            raise Rejected(f"{self!r}: it is open already")
        store = await opened(
            self._storage, self._exit, url=self._url, test_mode=self._test_mode, or_memory=self._or_memory,
            policies=self._policies, clock=self._clock,
        )  # fmt: skip
        clock = self._clock or SystemClock()
        self._shelf_now = Shelf(store, clock, self._randomness or system_randomness())
        self._folder_now = Folder(self._shelf_now)
        self._exit.push_async_callback(self._folder_now.close)
        if self._sweep_every_s is not None:
            self._keeper = Keeper(self._shelf_now, clock, every_s=self._sweep_every_s)
            tasks = Supervisor("holdfast", on_failure=_failed)
            tasks.start(self._keeper.keep(), name="state keeper")
            self._exit.push_async_callback(tasks.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shelf_now = self._folder_now = self._keeper = None
        await self._exit.aclose()

    @property
    def store(self) -> Store:
        """The store that it works on."""
        return self._shelf.store

    def weakness(self) -> str | None:
        """What is missing although everything works, in words: Redis, the clean-up. None if nothing is."""
        trouble = self._keeper.trouble if self._keeper is not None else None
        return weakness_of(self.store) or trouble

    async def set(
        self,
        context: UserExecutionContext,
        path: str,
        value: T,
        *,
        shared: bool = False,
        expect: int | None = None,
        ttl: Ttl = None,
        depends_on: Iterable[StateObject[Any] | str] | None = None,
        why: str = "",
        by: str = "",
    ) -> StateObject[T]:
        """Set an object; as it is then, its `value` as it was given, and `stale` by its own sources alone.

        `expect`: the version it must have, 0 for none; else Conflict. `depends_on`: what the value was made from, paths
        or objects as they were read ("shared:path" for a shared one); left out, what was said before stays. Writers of
        one object share a write. `why` and `by` (the agent; without it the user) go into the journal.
        """
        key, _ = self._place(context, path, shared)
        if depends_on is not None:

            async def one(t: StateTransaction) -> None:
                await t.set(path, value, shared=shared, expect=expect, until=self._until(ttl), depends_on=used)

            used = list(depends_on)
            return replace((await self._transacted(context, one, why, by, ATTEMPTS_MAX))[1].made(key), value=value)
        stored_value, made_by, until = plain(value, what=path), author(context, by, why), self._until(ttl)

        def make(seen: Seen) -> Any:
            rules.check_expected(key, expect, seen)
            return rules.next_body(seen, stored_value, made_by, until=until)

        return shown_as(key, await self._folder.write(key, Asked(make, rules.SET, made_by)), value)

    async def set_many(
        self, context: UserExecutionContext, values: Mapping[str, object], *, shared: bool = False, why: str = "",
        by: str = "",
    ) -> dict[str, int]:  # fmt: skip
        """Set up to 500 objects, all or none; their versions."""

        async def all_of_them(t: StateTransaction) -> None:
            await t.read_all(values, shared=shared)
            for path, value in values.items():
                await t.set(path, value, shared=shared)

        return (await self._transacted(context, all_of_them, why, by, ATTEMPTS_MAX))[1].versions

    @overload
    async def update(
        self, context: UserExecutionContext, path: str, change: Callable[[Any], object], *, initial: object = ...,
        shared: bool = ..., ttl: Ttl = ..., why: str = ..., by: str = ...,
    ) -> StateObject[Any]: ...  # fmt: skip
    @overload
    async def update(
        self, context: UserExecutionContext, path: str, change: Callable[[T], T], kind: type[T], *,
        initial: T | Keep = ..., shared: bool = ..., ttl: Ttl = ..., why: str = ..., by: str = ...,
    ) -> StateObject[T]: ...  # fmt: skip
    async def update(
        self,
        context: UserExecutionContext,
        path: str,
        change: Callable[[Any], object],
        kind: Any = None,
        *,
        initial: object = Keep.AS_BEFORE,
        shared: bool = False,
        ttl: Ttl = None,
        why: str = "",
        by: str = "",
    ) -> StateObject[Any]:
        """Set an object to what `change` makes of its value; `initial` where there is none, else NotFound.

        `change` is plain code, quick and without effects: it is called again where another process was quicker. All of
        one object's updates that are asked for while a commit is under way are folded into one write.
        """
        key, _ = self._place(context, path, shared)
        made_by, until = author(context, by, why), self._until(ttl)

        def make(seen: Seen) -> Any:
            if seen.stored is None and initial is Keep.AS_BEFORE:
                raise NotFound(f"{path}: there is no such object to update; give an initial value", path=path)
            before = initial if seen.stored is None else typed(seen.stored.value, kind, what=path)
            return rules.next_body(seen, plain(change(before), what=path), made_by, until=until)

        return shown(key, await self._folder.write(key, Asked(make, rules.UPDATED, made_by)), kind)

    async def merge(
        self,
        context: UserExecutionContext,
        path: str,
        value: object,
        *,
        base: StateObject[Any] | int,
        policies: Mapping[str, FieldPolicy] | None = None,
        shared: bool = False,
        why: str = "",
        by: str = "",
    ) -> StateObject[Any]:
        """Put what `value` changed since `base` (as it was read, or its version) together with what others changed.

        What both changed differently is settled by `policies`, or by those that the manager was given for the path, or
        is MergeConflict, whose `paths` name the fields; nothing is written then.
        """
        key, scope = self._place(context, path, shared)
        version = base.version if isinstance(base, StateObject) else base
        origin = await past.at_version(self._shelf, scope, key, version)
        ours, made_by = plain(value, what=path), author(context, by, why)
        chosen = policies if policies is not None else rules.policies_for(path, self._policies)

        def make(seen: Seen) -> Any:
            theirs = "" if seen.stored is None else seen.stored.by
            stamps = (Stamp(self._shelf.now_s(), made_by.by), Stamp(origin.at, theirs))
            merged = rules.merged_value(
                path, origin.stored.value, ours, seen, policies=chosen, stamps=stamps
            )  # fmt: skip
            return rules.next_body(seen, merged, made_by, until=Keep.AS_BEFORE)

        return shown(key, await self._folder.write(key, Asked(make, rules.MERGED, made_by)), None)

    async def delete(
        self, context: UserExecutionContext, path: str, *, shared: bool = False, expect: int | None = None,
        why: str = "", by: str = "",
    ) -> None:  # fmt: skip
        """Delete an object; its history stays, and its versions go on. Raises NotFound, and Conflict over `expect`."""

        async def one(t: StateTransaction) -> None:
            await t.delete(path, shared=shared, expect=expect)

        await self.transact(context, one, why=why, by=by)

    async def clear(
        self, context: UserExecutionContext, prefix: str, *, shared: bool = False, why: str = "", by: str = ""
    ) -> int:
        """Delete all objects beneath `prefix`, some hundred at a time; how many."""
        owner, scope = self._owner(context, shared)
        count = 0
        async for page in self._shelf.pages(scope, checked_prefix(prefix), owner):
            paths = [key.id for key, there in page if there.is_live(self._shelf.now_s())]

            async def some(t: StateTransaction, paths: list[str] = paths) -> int:
                await t.read_all(paths, shared=shared)
                found = [path for path in paths if await t.find(path, shared=shared) is not None]
                for path in found:
                    await t.delete(path, shared=shared)
                return len(found)

            count += await self.transact(context, some, why=why, by=by) if paths else 0
        return count

    def transaction(self, context: UserExecutionContext, *, why: str = "", by: str = "") -> StateTransaction:
        """A block that changes several objects, all or none. It is not tried again: see `transact`."""
        self._ready(context)
        return StateTransaction(self._shelf, context, author(context, by, why))

    async def transact(
        self,
        context: UserExecutionContext,
        work: Callable[[StateTransaction], Awaitable[T]],
        *,
        why: str = "",
        by: str = "",
        attempts_max: int = ATTEMPTS_MAX,
    ) -> T:
        """What `work` gives, once the transaction that it was handed is committed. It is called anew with another one
        where others changed what it read, `attempts_max` times in all. Raises Conflict, naming these objects."""
        return (await self._transacted(context, work, why, by, attempts_max))[0]

    async def propagate(
        self,
        context: UserExecutionContext,
        paths: str | Sequence[str],
        remake: dependencies.Remake,
        *,
        shared: bool = False,
        why: str = "",
        by: str = "",
    ) -> list[str]:
        """Make anew what is stale below one or several objects, sources first and each once; the paths, in that order.

        `remake(dependent, sources)` gives the new value, or awaits it; `sources` are by the names in `uses`. It may be
        called again for the same object where others were quicker.
        """
        changed = [paths] if isinstance(paths, str) else list(paths)
        keys = [self._place(context, path, shared)[0] for path in changed]
        words = why or f"{', '.join(changed[:3])} changed"
        scope = self._owner(context, shared)[1]
        return await dependencies.propagate(self._shelf, context, scope, keys, remake, by=by, why=words)

    async def checkpoint(
        self, context: UserExecutionContext, name: str, *, prefix: str = "", shared: bool = False, why: str = "",
        by: str = "",
    ) -> StateCheckpoint:  # fmt: skip
        """Keep all objects beneath `prefix` as they are at one moment, while they change. A name is kept once."""
        self._ready(context)
        return await checkpoints.take(self._shelf, context, name, prefix=prefix, shared=shared, by=by, why=why)

    async def restore(
        self, context: UserExecutionContext, name: str, *, shared: bool = False, why: str = "", by: str = ""
    ) -> list[str]:
        """Make all objects beneath a checkpoint's prefix what they were, as new versions; the paths of those that
        were changed for it. Raises NotFound."""
        self._ready(context)
        return await checkpoints.restore(self._shelf, context, name, shared=shared, by=by, why=why)

    async def forget_checkpoint(self, context: UserExecutionContext, name: str, *, shared: bool = False) -> None:
        """Remove a checkpoint. Raises NotFound."""
        self._ready(context)
        await checkpoints.forget(self._shelf, context, name, shared=shared)

    async def sweep(self, context: UserExecutionContext) -> int:
        """Remove what is over its time now, of the user and of what is shared; how many."""
        self._ready(context)
        return await sweep(self._shelf, scope_of(context))

    def __repr__(self) -> str:
        place = "closed" if self._shelf_now is None else self._shelf_now.store.capabilities.location
        return f"StateManager({place}, {self._folder_now!r})"

    async def _transacted(
        self,
        context: UserExecutionContext,
        work: Callable[[StateTransaction], Awaitable[T]],
        why: str,
        by: str,
        attempts_max: int,
    ) -> tuple[T, StateTransaction]:
        self._ready(context)
        if attempts_max < 1:
            raise InvalidInput(f"transact: expected attempts_max of at least 1, saw {attempts_max}")
        contended: set[Key] = set()
        for attempt in range(1, attempts_max + 1):
            transaction = StateTransaction(self._shelf, context, author(context, by, why))
            try:
                async with self._lines.stand(contended), transaction:
                    answer = await work(transaction)
                return answer, transaction
            except Conflict as error:
                lost = error.facts.get("keys")
                if lost is None or attempt == attempts_max:  # else it is of the work's own making
                    raise
                contended |= set(lost)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _folder(self) -> Folder:
        assert self._folder_now is not None, "open with the shelf"
        return self._folder_now

    def _until(self, ttl: Ttl) -> float | Keep | None:
        return rules.until(ttl, now=self._shelf.now_s())


def _failed(name: str, error: BaseException) -> None:
    log.error("state_keeper_failed", task=name, error=repr(error))
