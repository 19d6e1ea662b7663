"""Where all writers of one object in a process meet: what they ask for while a commit is under way is one write.

Each still gets a version of its own, and a row in the journal. An object is kept in mind for a moment as it was written
last, so that the next write needs no read; it may be old, and nothing is told that no commit or read has confirmed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from holdfast.errors import Conflict, HoldfastError, InvalidInput, Unavailable
from holdfast.logs import get_logger
from holdfast.state.objects import Held, Stored
from holdfast.state.rules import Asked, Fold, fold
from holdfast.state.shelf import Shelf
from holdfast.store.delivery import copy_of
from holdfast.store.records import Key, Scope
from holdfast.tasks import Supervisor

ATTEMPTS_MAX = 1000
"""Bound on races lost for one write: each means that somebody else's write went through."""
FOLD_MAX = 500
"""Updates in one write."""
KNOWN_MAX = 500
KNOWN_BYTES_MAX = 16 * 1024
"""Bounds on what is kept in mind: so many objects, each of so many bytes at most."""
KNOWN_FOR_S = 1.0

log = get_logger("holdfast.state")


class _Waiter(NamedTuple):
    asked: Asked
    answer: asyncio.Future[Held | Exception]


class _Kept(NamedTuple):
    held: Held | None
    at: float


class _Line:
    """Who wants to write one object."""

    def __init__(self) -> None:
        self.queue: deque[_Waiter] = deque()
        self.is_served = False


class Folder:
    """Folds the writes of one shelf. `writes` counts how many there were, `updates` how many they stood for."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._lines: dict[tuple[asyncio.AbstractEventLoop, Key], _Line] = {}
        self._known: dict[Key, _Kept] = {}
        self.writes = 0
        self.updates = 0

    async def write(self, key: Key, asked: Asked) -> Held:
        """The object after what was asked for. Raises what `asked.make` and the store raise. A caller that is
        cancelled takes nothing back."""
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault((loop, key), _Line())
        waiter = _Waiter(asked, loop.create_future())
        line.queue.append(waiter)
        if not line.is_served:
            line.is_served = True
            Supervisor("holdfast", on_failure=_failed).start(self._serve(loop, key, line), name="state writer")
        outcome = await waiter.answer
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def __repr__(self) -> str:
        return f"Folder(lines={len(self._lines)}, writes={self.writes}, updates={self.updates})"

    async def _serve(self, loop: asyncio.AbstractEventLoop, key: Key, line: _Line) -> None:
        some: list[_Waiter] = []
        try:
            while line.queue:
                some = [line.queue.popleft() for _ in range(min(FOLD_MAX, len(line.queue)))]
                await self._answer(key, [each for each in some if not each.answer.done()])  # else it was cancelled
        finally:
            del self._lines[loop, key]
            for waiter in (*some, *line.queue):
                waiter.answer.cancel()  # of no effect on those that were answered

    async def _answer(self, key: Key, some: Sequence[_Waiter]) -> None:
        if not some:
            return
        try:
            outcomes = await self._commit(key, [each.asked for each in some])
        except HoldfastError as error:
            if isinstance(error, InvalidInput) and len(some) > 1:  # together they are too much, or one of them is
                for each in some:
                    await self._answer(key, [each])
                return
            outcomes = [copy_of(error) for _ in some]
        for each, outcome in zip(some, outcomes, strict=True):
            if not each.answer.done():
                each.answer.set_result(outcome)

    async def _commit(self, key: Key, asked: Sequence[Asked]) -> list[Held | Exception]:
        """What became of each: its version is committed then, or its refusal is about what was just read."""
        scope = Scope.of_user(key.tenant, key.user)
        kept = self._known.pop(key, None)
        is_known = kept is not None and kept.at > _loop_s() - KNOWN_FOR_S
        known = kept.held if kept is not None and is_known else await self._shelf.one(scope, key)
        for _ in range(ATTEMPTS_MAX):
            made = fold(key, known, asked, now=self._shelf.now_s())
            if made.put is None and not is_known:
                return [outcome for outcome in made.outcomes if isinstance(outcome, Exception)]
            if made.put is not None:
                try:
                    commit = await self._shelf.commit(scope, writes=[made.put], events=made.events)
                except Conflict:
                    pass
                else:
                    return self._committed(key, made, commit.versions[0], commit.at)
            is_known, known = False, await self._shelf.one(scope, key)
        raise Unavailable(f"{key.id}: lost {ATTEMPTS_MAX} races for it; try again later", path=key.id)

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
        last = next(answer for answer in reversed(answers) if isinstance(answer, Held))
        if made.put is not None and len(made.put.body) <= KNOWN_BYTES_MAX:
            self._known[key] = _Kept(last, _loop_s())
            if len(self._known) > KNOWN_MAX:
                del self._known[next(iter(self._known))]
        return answers


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def _failed(name: str, error: BaseException) -> None:
    log.error("state_writer_failed", task=name, error=repr(error))
