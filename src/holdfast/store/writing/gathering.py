"""Questions that are asked at about the same time go to the server together, as commits do.

Nobody waits for company: what is asked in one turn of the loop goes at once, and what is asked while that is under way
goes next. So one caller alone pays nothing for it, and a thousand share what each would have paid.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from holdfast.errors import HoldfastError, InvalidInput
from holdfast.logs import get_logger
from holdfast.store.writing.delivery import copy_of
from holdfast.tasks import Supervisor

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")
log = get_logger(__name__)


class Gathering(Generic[QuestionT, AnswerT]):
    """Puts questions of one group together; from any loop, each for itself.

    `put` asks what was gathered of a group and gives an answer to each, in order. `at_most` go together, and of each
    group and loop so many batches are under way `at_once`.
    """

    def __init__(
        self,
        put: Callable[[Any, Sequence[QuestionT]], Awaitable[Sequence[AnswerT]]],
        *,
        at_most: int,
        at_once: int,
    ) -> None:
        self._put = put
        self._at_most = at_most
        self._at_once = at_once
        self._lines: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Line] = {}

    async def ask(self, group: Hashable, question: QuestionT) -> AnswerT:
        """The answer to `question`. Raises what `put` raises; what is InvalidInput is refused to its sender alone."""
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault((loop, group), _Line())
        future: asyncio.Future[AnswerT] = loop.create_future()
        line.queue.append((question, future))
        if not line.is_called and line.under_way < self._at_once:
            line.is_called = True
            loop.call_soon(self._go, loop, group, line)
        return await future

    def __repr__(self) -> str:
        return f"Gathering(queued={sum(len(line.queue) for line in self._lines.values())})"

    def _go(self, loop: asyncio.AbstractEventLoop, group: Hashable, line: _Line) -> None:
        """Send off what waits; forget the line where nothing does."""
        line.is_called = False
        while line.queue and line.under_way < self._at_once:
            batch = [line.queue.popleft() for _ in range(min(self._at_most, len(line.queue)))]
            if asked := [each for each in batch if not each[1].done()]:  # else its caller was cancelled
                line.under_way += 1
                task = Supervisor("holdfast", on_failure=_failed).start(self._answer(group, asked), name="reading")
                task.add_done_callback(lambda _: self._back(loop, group, line))
                _end_without_askers(task, [future for _, future in asked])
        if not line.queue and not line.under_way:
            self._lines.pop((loop, group), None)

    def _back(self, loop: asyncio.AbstractEventLoop, group: Hashable, line: _Line) -> None:
        line.under_way -= 1
        self._go(loop, group, line)

    async def _answer(self, group: Hashable, asked: Sequence[tuple[QuestionT, asyncio.Future[AnswerT]]]) -> None:
        try:
            answers = await self._put(group, [question for question, _ in asked])
        except InvalidInput as error:
            if len(asked) == 1:
                _refuse(asked, error)
                return
            for each in asked:  # the others' values are not to blame
                await self._answer(group, [each])
        except HoldfastError as error:
            _refuse(asked, error)
        except BaseException:  # the loop ends, or what nobody expects, which is told by the task
            for _, future in asked:
                future.cancel()
            raise
        else:
            for (_, future), answer in zip(asked, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


class _Line:
    """What waits in one group of one loop."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self.under_way = 0
        self.is_called = False


def _end_without_askers(task: asyncio.Task[None], futures: Sequence[asyncio.Future[Any]]) -> None:
    """Once everybody has gone away, nothing is kept busy for them: a server that is silent would keep it for long."""

    def gone(future: asyncio.Future[Any]) -> None:
        if future.cancelled() and all(each.done() for each in futures):
            task.cancel()

    for future in futures:
        future.add_done_callback(gone)


def _refuse(asked: Sequence[tuple[Any, asyncio.Future[Any]]], error: HoldfastError) -> None:
    for _, future in asked:
        if not future.done():
            future.set_exception(copy_of(error))


def _failed(name: str, error: BaseException) -> None:
    log.error("reading_failed", task=name, error=repr(error))
