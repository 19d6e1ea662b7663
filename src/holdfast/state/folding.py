"""Where all writers of a process meet: what they ask for in one turn, and of one object while a commit is under way, is
one change of the store.

Each still gets a version of its own, and a row in the journal. Objects that go together do not share a fate: where one
of them has moved, or is refused, each goes again alone. An object is kept in mind for a moment as it was written last,
so that the next write needs no read; it may be old, and nothing is told that no commit or read has confirmed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from holdfast.errors import CommitUnknown, Conflict, Corrupt, HoldfastError, InvalidInput, Unavailable
from holdfast.logs import get_logger
from holdfast.state.objects import Held, Stored
from holdfast.state.rules import Asked, Fold, fold, slices
from holdfast.state.shelf import Shelf
from holdfast.store.contract.records import Commit, Key, Scope
from holdfast.store.writing.delivery import copy_of
from holdfast.tasks import Supervisor

ATTEMPTS_MAX = 1000
"""Bound on races lost for one write: each means that somebody else's write went through."""
FOLD_MAX = 500
"""Updates in one write."""
TOGETHER_MAX = 100
"""Objects that are written together."""
KNOWN_MAX = 500
KNOWN_BYTES_MAX = 16 * 1024
"""Bounds on what is kept in mind: so many objects, each of so many bytes at most."""
KNOWN_FOR_S = 1.0
CLOSE_S = 5.0
"""How long those who asked before are waited for at the end."""

log = get_logger("holdfast.state")


class _Waiter(NamedTuple):
    asked: Asked
    answer: asyncio.Future[Held | Exception]


class _Kept(NamedTuple):
    """An object as it was written last, `told` as its journal tells it."""

    held: Held | None
    told: Any
    at: float


Taken = Mapping[Key, Sequence[_Waiter]]
"""Who is served now, by object."""


class Folder:
    """Folds the writes of one shelf. `writes` counts how many there were, `updates` how many they stood for, `changes`
    in how many changes of the store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lines: dict[tuple[asyncio.AbstractEventLoop, Key], deque[_Waiter]] = {}
        self._turns: dict[tuple[asyncio.AbstractEventLoop, Scope], list[Key]] = {}
        self._known: dict[Key, _Kept] = {}
        self._tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, Supervisor] = WeakKeyDictionary()
        self.writes = 0
        self.updates = 0
        self.changes = 0

    async def write(self, key: Key, asked: Asked) -> Held:
        """The object after what was asked for. Raises what `asked.make` and the store raise. A caller that is
        cancelled takes nothing back."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(asked, loop.create_future())
        line = self._lines.get((loop, key))
        if line is None:
            line = self._lines[loop, key] = deque()
            self._call(loop, key)
        line.append(waiter)
        outcome = await waiter.answer
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Wait until all who asked in this loop have their answers, and end: after CLOSE_S those who still wait are
        told that nobody knows."""
        loop = asyncio.get_running_loop()
        tasks = self._supervisor(loop)
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while any(of is loop for of, _ in self._lines):
                    await tasks.ended()
        await tasks.stop()
        for of, key in [line for line in self._lines if line[0] is loop]:
            self._drop(of, key)

    def _drop(self, loop: asyncio.AbstractEventLoop, key: Key) -> None:
        """End a line whose writers were not served."""
        _tell(self._lines.pop((loop, key)), Unavailable(f"{key.id}: closed before it was written", path=key.id))

    def _supervisor(self, loop: asyncio.AbstractEventLoop) -> Supervisor:
        tasks = self._tasks.get(loop)
        if tasks is None:
            tasks = self._tasks[loop] = Supervisor("holdfast", on_failure=_failed)
        return tasks

    def __repr__(self) -> str:
        return f"Folder(lines={len(self._lines)}, writes={self.writes}, updates={self.updates}, changes={self.changes})"

    def _call(self, loop: asyncio.AbstractEventLoop, key: Key) -> None:
        """Have a line served with all of its user's that are called in this turn."""
        scope = Scope.of_user(key.tenant, key.user)
        turn = self._turns.get((loop, scope))
        if turn is None:
            turn = self._turns[loop, scope] = []
            loop.call_soon(self._begin, loop, scope)
        turn.append(key)

    def _begin(self, loop: asyncio.AbstractEventLoop, scope: Scope) -> None:
        """Serve the lines of this turn; those of whom all were cancelled are no more."""
        taken: dict[Key, list[_Waiter]] = {}
        for key in self._turns.pop((loop, scope)):
            line = self._lines[loop, key]
            some = [line.popleft() for _ in range(min(FOLD_MAX, len(line)))]
            if waiting := [each for each in some if not each.answer.done()]:
                taken[key] = waiting
            else:
                self._served(loop, key)
        keys = list(taken)
        for start in range(0, len(keys), TOGETHER_MAX):
            part = {key: taken[key] for key in keys[start : start + TOGETHER_MAX]}
            self._supervisor(loop).start(self._serve(loop, scope, part), name="state writer")

    def _served(self, loop: asyncio.AbstractEventLoop, key: Key) -> None:
        """The next ones of a line are called, or the line is over."""
        if self._lines[loop, key]:
            self._call(loop, key)
        else:
            del self._lines[loop, key]

    async def _serve(self, loop: asyncio.AbstractEventLoop, scope: Scope, taken: Taken) -> None:
        left = dict(taken)

        def answer(key: Key, outcomes: Sequence[Held | Exception]) -> None:
            for each, outcome in zip(left.pop(key), outcomes, strict=True):
                if not each.answer.done():
                    each.answer.set_result(outcome)
            self._served(loop, key)

        async def alone(key: Key) -> None:
            answer(key, await self._alone(scope, key, [each.asked for each in taken[key]]))

        try:
            if len(taken) > 1:
                await self._together(scope, {key: [each.asked for each in some] for key, some in taken.items()}, answer)
            await asyncio.gather(*map(alone, tuple(left)))
        finally:
            for key, some in left.items():  # it was closed, or the loop ends, or what nobody expects: the task tells
                lost = "closed while it was written; read it to see what came of it"
                _tell(some, CommitUnknown(f"{key.id}: {lost}", path=key.id))
                self._drop(loop, key)

    async def _together(
        self,
        scope: Scope,
        asked: Mapping[Key, Sequence[Asked]],
        answer: Callable[[Key, Sequence[Held | Exception]], None],
    ) -> None:
        """Write several objects in as few changes as they fit into; whoever gets no answer is to go alone."""
        try:
            made = await self._made(scope, asked)
        except (Corrupt, InvalidInput):
            return  # one of them is to blame
        except HoldfastError as error:
            for key, each in asked.items():
                answer(key, [copy_of(error) for _ in each])
            return

        async def write(part: Sequence[tuple[Key, Fold]]) -> None:
            try:
                commit = await self._commit(scope, [each for _, each in part])
            except (Conflict, InvalidInput):
                return
            except HoldfastError as error:
                for key, _ in part:
                    answer(key, [copy_of(error) for _ in asked[key]])
                return
            for (key, each), version in zip(part, commit.versions, strict=True):
                answer(key, self._committed(key, each, version, commit.at))

        parts = slices(made, rows_of=lambda each: each[1].rows, bytes_of=lambda each: each[1].bytes)
        await asyncio.gather(*map(write, parts))

    async def _made(self, scope: Scope, asked: Mapping[Key, Sequence[Asked]]) -> list[tuple[Key, Fold]]:
        """What is to be written of each, as far as there is anything, by what is in mind or by one read of the rest."""
        kept = {key: self._recalled(key) for key in asked}
        read = [key for key, each in kept.items() if each is None]
        found = await self._shelf.held(scope, read) if read else {}
        made: list[tuple[Key, Fold]] = []
        for key, some in asked.items():
            each = kept[key]
            known, told = (found[key], None) if each is None else (each.held, each.told)
            folded = fold(key, known, some, now=self._shelf.now_s(), told=told)
            if folded.put is not None:
                made.append((key, folded))
        return made

    async def _alone(self, scope: Scope, key: Key, asked: Sequence[Asked]) -> list[Held | Exception]:
        """What became of the writers of one object."""
        try:
            return await self._persistent(scope, key, asked)
        except HoldfastError as error:
            if isinstance(error, InvalidInput) and len(asked) > 1:  # together they are too much, or one of them is
                return [outcome for each in asked for outcome in await self._alone(scope, key, [each])]
            return [copy_of(error) for _ in asked]

    async def _persistent(self, scope: Scope, key: Key, asked: Sequence[Asked]) -> list[Held | Exception]:
        """What became of each: its version is committed then, or its refusal is about what was just read."""
        kept = self._recalled(key)
        known, told = (await self._shelf.one(scope, key), None) if kept is None else (kept.held, kept.told)
        is_read = kept is None
        for _ in range(ATTEMPTS_MAX):
            made = fold(key, known, asked, now=self._shelf.now_s(), told=told)
            if made.put is None and is_read:
                return [outcome for outcome in made.outcomes if isinstance(outcome, Exception)]
            if made.put is not None:
                try:
                    commit = await self._commit(scope, [made])
                except Conflict:
                    pass
                else:
                    return self._committed(key, made, commit.versions[0], commit.at)
            is_read, known, told = True, await self._shelf.one(scope, key), None
        raise Unavailable(f"{key.id}: lost {ATTEMPTS_MAX} races for it; try again later", path=key.id)

    async def _commit(self, scope: Scope, made: Sequence[Fold]) -> Commit:
        writes = [each.put for each in made if each.put is not None]
        events = [event for each in made for event in each.events]
        commit = await self._shelf.commit(scope, writes=writes, events=events)
        self.changes += 1
        return commit

    def _recalled(self, key: Key) -> _Kept | None:
        """What is in mind of an object, which is forgotten until it is written again."""
        kept = self._known.pop(key, None)
        return kept if kept is not None and kept.at > _loop_s() - KNOWN_FOR_S else None

    def _committed(self, key: Key, made: Fold, version: int, at: float) -> list[Held | Exception]:
        self.writes += 1
        self.updates += len(made.events)
        first = version - len(made.events) + 1
        answers: list[Held | Exception] = []
        for outcome, number in zip(made.outcomes, made.versions, strict=True):
            if isinstance(outcome, Stored):
                assert number is not None, "what was made was counted"
                answers.append(Held(first + number, outcome, at))
            else:
                answers.append(outcome)
        if made.put is not None and len(made.put.body) <= KNOWN_BYTES_MAX:
            last = next(answer for answer in reversed(answers) if isinstance(answer, Held))
            self._known[key] = _Kept(last, made.told, _loop_s())
            if len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
        return answers


def _tell(waiters: Iterable[_Waiter], outcome: HoldfastError) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_result(copy_of(outcome))


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def _failed(name: str, error: BaseException) -> None:
    log.error("state_writer_failed", task=name, error=repr(error))
