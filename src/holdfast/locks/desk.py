"""Where all blocks of one process that want locks meet: one commit for many of them, and one look at the store for all.

What they decide over the same trees while a commit is under way goes into the next one, as a store does with changes. A
tree is kept in mind as it was committed or read last, so who comes alone commits without a read. It may be old: nothing
is true that a commit with the version of the tree, or a read, has not confirmed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

from holdfast.clock import Clock, Randomness
from holdfast.errors import Conflict, HoldfastError, InvalidInput, Unavailable
from holdfast.ids import uuid7
from holdfast.locks.book import LockBook
from holdfast.locks.records import KnownTree, known_tree
from holdfast.locks.rules import is_up_to_others
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Key, Record, Scope
from holdfast.store.writing.delivery import copy_of
from holdfast.tasks import Supervisor

ATTEMPTS_MAX = 10_000
"""Bound on re-reads of contended locks: each lost race means that somebody else moved on."""
TOGETHER_MAX = 100
"""How many decisions go into one commit."""
KNOWN_MAX = 1000
"""How many trees are kept in mind."""
KNOWN_FOR_S = 1.0
"""How old a tree may be that a commit is tried on. A store that was set back to an older copy counts its versions once
more, and a version from before must not be taken for that of another tree."""
LOOK_MAX = 1000
"""How many trees one read asks for."""
HINT_PAUSE_S = 0.01
"""Hints are answered at most this often: a busy store has one for each commit of anybody."""

AnswerT = TypeVar("AnswerT")
Decision = Callable[[LockBook], AnswerT]
"""What somebody makes of the trees, and the answer for himself. It is made anew where a tree was another one."""


class _Kept(NamedTuple):
    """A tree in mind; `at`: when it was as it is for certain, on the loop's clock."""

    known: KnownTree
    at: float


class _Waiter(NamedTuple):
    holder: str
    told: asyncio.Future[None]


class _Line:
    """Who wants to decide over the same trees."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Decision[Any], asyncio.Future[Any]]] = deque()
        self.is_served = False


class Desk:
    """The locks of one store as one process sees and writes them. `on_changed` hears of each tree that was written;
    `poll_s` is how often those who wait look without a hint."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        *,
        on_changed: Callable[[Key], None],
        poll_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._randomness = randomness
        self._tasks = tasks
        self._on_changed = on_changed
        self._poll_s = poll_s
        self.ours: set[str] = set()
        """The holders that are this process's alone, while they hold or wait."""
        self._known: dict[Key, _Kept] = {}
        self._lines: dict[tuple[Key, ...], _Line] = {}
        self._waiting: dict[Key, list[_Waiter]] = {}
        self._watcher: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()

    async def decide(self, keys: tuple[Key, ...], decision: Decision[AnswerT]) -> AnswerT:
        """Make a decision over the trees of `keys` true, in the order of asking; its answer. A caller that is cancelled
        meanwhile takes nothing back."""
        line = self._lines.setdefault(keys, _Line())
        answer: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        line.queue.append((decision, answer))
        if not line.is_served:
            line.is_served = True
            self._tasks.start(self._serve(keys, line), name="lock desk")
        return await answer

    async def book(self, keys: tuple[Key, ...]) -> LockBook:
        """The trees of `keys` as they are known; read, where one is not."""
        return (await self._book(keys, not_before=float("-inf")))[0]

    async def wait(self, keys: tuple[Key, ...], holder: str, seconds: float) -> None:
        """Until `holder` waits in one of the trees no more, as far as is known here, or `seconds` passed."""
        me = _Waiter(holder, asyncio.get_running_loop().create_future())
        for key in keys:
            self._waiting.setdefault(key, []).append(me)
            self._look_if_up_to_others(key)
        if self._watcher is None or self._watcher.done():
            self._watcher = self._tasks.start(self._watch(), name="lock watch")
        slept = self._tasks.start(self._clock.sleep(seconds), name="lock poll")
        try:
            await asyncio.wait([me.told, slept], return_when=asyncio.FIRST_COMPLETED)
        finally:
            slept.cancel()
            me.told.cancel()
            for key in keys:
                self._waiting[key].remove(me)
                if not self._waiting[key]:
                    del self._waiting[key]

    async def _serve(self, keys: tuple[Key, ...], line: _Line) -> None:
        """Commit what was decided, some after some, until nobody is in line."""
        asked: list[tuple[Decision[Any], asyncio.Future[Any]]] = []
        try:
            while line.queue:
                some = [line.queue.popleft() for _ in range(min(TOGETHER_MAX, len(line.queue)))]
                if asked := [each for each in some if not each[1].done()]:  # else its caller was cancelled
                    await self._answer(keys, asked)
        finally:
            del self._lines[keys]
            for _, answer in (*asked, *line.queue):
                answer.cancel()  # of no effect on those that were answered

    async def _answer(self, keys: tuple[Key, ...], asked: Sequence[tuple[Decision[Any], asyncio.Future[Any]]]) -> None:
        try:
            answers = await self._commit(keys, [decision for decision, _ in asked])
        except HoldfastError as error:
            if isinstance(error, InvalidInput) and len(asked) > 1:  # together they are too much, or one of them is
                for each in asked:
                    await self._answer(keys, [each])
                return
            for _, answer in asked:
                if not answer.done():
                    answer.set_exception(copy_of(error))
            return
        for (_, answer), value in zip(asked, answers, strict=True):
            if not answer.done():
                answer.set_result(value)

    async def _commit(self, keys: tuple[Key, ...], decisions: Sequence[Decision[Any]]) -> list[Any]:
        """The answers to the decisions, which are true then: committed, or found so in trees that were just read."""
        for _ in range(ATTEMPTS_MAX):
            book, is_read = await self._book(keys, not_before=_loop_s() - KNOWN_FOR_S)
            answers = [decision(book) for decision in decisions]
            puts, removes = book.change()
            if not puts and is_read:
                return answers
            if not puts:
                self._forget(keys)
                continue
            change = Change(change_id=uuid7(self._clock, self._randomness), writes=puts, removes=removes)
            try:
                commit = await self._store.commit(_scope(keys), change)
            except Conflict:
                self._forget(keys)
                continue
            except BaseException:
                self._forget(keys)
                raise
            versions = dict(zip(change.keys, commit.versions, strict=True))
            for key, known in book.committed(versions).items():
                self._learn(key, known)
                self._look_if_up_to_others(key)
                if key in versions:
                    self._on_changed(key)
            return answers
        raise Unavailable(f"locks {', '.join(key.id for key in keys)}: lost {ATTEMPTS_MAX} races; try again later")

    async def _book(self, keys: tuple[Key, ...], *, not_before: float) -> tuple[LockBook, bool]:
        """The trees of `keys`, and whether they were read just now, as one is not known or not of late."""
        kept = [self._known.get(key) for key in keys]
        known = {key: each.known for key, each in zip(keys, kept, strict=True) if each and each.at >= not_before}
        if is_read := len(known) < len(keys):
            known = {key: known_tree(key, record) for key, record in zip(keys, await self._read(keys), strict=True)}
            for key, tree in known.items():
                self._learn(key, tree)
        return LockBook(keys[0].tenant, known, now=self._store.now_s()), is_read

    async def _read(self, keys: Sequence[Key]) -> list[Record | None]:
        return await self._store.read(_scope(keys), keys)

    def _forget(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._known.pop(key, None)

    def _learn(self, key: Key, known: KnownTree) -> None:
        """Keep a tree in mind, and tell those who wait for it no more."""
        self._known.pop(key, None)
        self._known[key] = _Kept(known, _loop_s())
        if len(self._known) > KNOWN_MAX:
            self._forget([next(iter(self._known))])
        if waiting := self._waiting.get(key):
            still = {ticket.holder for ticket in known.tree.queue if not ticket.token}
            self._tell(waiter for waiter in waiting if waiter.holder not in still)

    def _tell(self, waiters: Iterable[_Waiter]) -> None:
        for waiter in waiters:
            if not waiter.told.done():
                waiter.told.set_result(None)

    def _look_if_up_to_others(self, key: Key) -> None:
        """Others may have committed since this tree came to be known, when nobody here listened for it yet."""
        if self._is_up_to_others(key):
            self._look_now.set()

    def _is_up_to_others(self, key: Key) -> bool:
        """Whether another process can grant something to one who waits here: then its commits are worth a read."""
        waiting = self._waiting.get(key, ())
        kept = self._known.get(key)
        return bool(waiting) and (
            kept is None
            or any(waiter.holder not in self.ours for waiter in waiting)
            or is_up_to_others(kept.known.tree, self.ours)
        )

    async def _watch(self) -> None:
        """While somebody waits: read, at each hint, the trees in which it may have come to be somebody's turn; and all
        of them now and then, for a hint may be lost and a holder may be dead."""
        tick, looked_at, hinted_at = 0, float("-inf"), float("-inf")
        while self._waiting:
            tick = await self._hint(tick)
            if (early_s := hinted_at + HINT_PAUSE_S - _loop_s()) > 0:
                await self._clock.sleep(early_s)
            hinted_at = _loop_s()
            self._look_now.clear()
            is_due = self._store.now_s() - looked_at >= self._poll_s
            if is_due:
                looked_at = self._store.now_s()
            keys = sorted(key for key in self._waiting if is_due or self._is_up_to_others(key))
            for _, its in groupby(keys, key=lambda key: key.tenant):
                its_keys = list(its)
                for first in range(0, len(its_keys), LOOK_MAX):
                    await self._look(its_keys[first : first + LOOK_MAX])

    async def _look(self, keys: Sequence[Key]) -> None:
        """Read trees for all who wait for them. Where that fails each of them reads for himself, and is told why."""
        before = {key: self._known.get(key) for key in keys}
        try:
            records = await self._read(keys)
        except HoldfastError:
            self._forget(keys)
            self._tell(waiter for key in keys for waiter in self._waiting.get(key, ()))
            return
        for key, record in zip(keys, records, strict=True):
            kept = before[key]
            if self._known.get(key) is not kept:
                continue  # we committed something meanwhile, and know better
            is_same = kept is not None and record is not None and record.version == kept.known.version
            self._learn(key, kept.known if kept is not None and is_same else known_tree(key, record))

    async def _hint(self, tick: int) -> int:
        """Until somebody committed something, a look is due, or the time of one without a hint has come."""
        changed = self._tasks.start(self._changed(tick), name="lock hint")
        slept = self._tasks.start(self._clock.sleep(self._poll_s), name="lock poll")
        called = self._tasks.start(self._look_now.wait(), name="lock look")
        try:
            await asyncio.wait([changed, slept, called], return_when=asyncio.FIRST_COMPLETED)
            return changed.result() if changed.done() else tick
        finally:
            for each in (changed, slept, called):
                each.cancel()

    async def _changed(self, tick: int) -> int:
        """The store's own hint. Where it gives none, as one that is away, that is a matter for the next look."""
        try:
            return await self._store.wait(tick)
        except HoldfastError:
            await self._clock.sleep(self._poll_s)
            return tick


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def _scope(keys: Sequence[Key]) -> Scope:
    return Scope.of_tenant(keys[0].tenant)
