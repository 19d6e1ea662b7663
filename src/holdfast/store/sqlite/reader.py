"""The one connection of a process for reading: what was asked for while it was busy is answered in one go.

A thread that is woken for every question costs more than most answers: it has to get Python's lock from the busy loop,
and the loop to be woken again. So one visit to the thread answers all that waits, and each loop hears by one call.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from holdfast.errors import HoldfastError, Unavailable
from holdfast.store.sqlite.errors import translated
from holdfast.store.writing.delivery import Answer, Waiter, deliver, waiter

T = TypeVar("T")
Question = Callable[[sqlite3.Connection], T]
ANSWERS_MAX = 64
"""Answers given before those who asked first hear them, and before others who share the executor have their turn."""


class Reader:
    """Owns the connection that reads. `ask` may be called from any loop of any thread."""

    def __init__(self, connection: sqlite3.Connection, *, path: Path, executor: Executor) -> None:
        self._connection = connection
        self._path = path
        self._executor = executor
        self._queue: deque[tuple[Question[Any], Waiter]] = deque()
        self._lock = threading.Lock()
        self._is_visited = False
        self._reading = threading.Lock()
        self._is_closed = False
        with translated(path):
            self._seen_version = self._data_version()

    async def ask(self, question: Question[T]) -> T:
        """What `question` returns. Raises the store's errors."""
        mine = waiter()
        with self._lock:
            self._check_open()
            self._queue.append((question, mine))
            must_go, self._is_visited = not self._is_visited, True
        if must_go:
            self._go()
        answer: T = await mine.future
        return answer

    def is_news(self, _: sqlite3.Connection) -> bool:
        """A question: whether another process has committed since it was last asked."""
        before, self._seen_version = self._seen_version, self._data_version()
        return before != self._seen_version

    def close(self) -> None:
        """Let go of the file. What waits is refused."""
        with self._lock:
            self._is_closed = True
        self._refuse("the store is closed")
        with self._reading:
            self._connection.close()

    def __repr__(self) -> str:
        return f"Reader({str(self._path)!r}, queued={len(self._queue)})"

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._path}: the store is closed; open another")

    def _go(self) -> None:
        try:
            self._executor.submit(self._visit)
        except RuntimeError as error:  # it was shut down
            self._refuse(f"the executor takes no more work ({error})")

    def _visit(self) -> None:
        """Answer what waits. Blocks; for the executor."""
        with self._reading:
            answers = [self._answer(*asked) for asked in self._take() if not asked[1].future.cancelled()]
        deliver(answers)
        with self._lock:
            self._is_visited = bool(self._queue)
        if self._is_visited:
            self._go()

    def _take(self) -> list[tuple[Question[Any], Waiter]]:
        with self._lock:
            return [self._queue.popleft() for _ in range(min(ANSWERS_MAX, len(self._queue)))]

    def _answer(self, question: Question[Any], asker: Waiter) -> Answer:
        try:
            self._check_open()
            with translated(self._path):
                return Answer(asker, question(self._connection), None)
        except Exception as error:  # whatever it is: it belongs to whoever asked, and the others go on
            return Answer(asker, None, error)

    def _refuse(self, why: str) -> None:
        with self._lock:
            waiting, self._is_visited = list(self._queue), False
            self._queue.clear()
        refusals: list[HoldfastError] = [Unavailable(f"{self._path}: {why}; open another") for _ in waiting]
        deliver([Answer(asker, None, refusal) for (_, asker), refusal in zip(waiting, refusals, strict=True)])

    def _data_version(self) -> int:
        version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version
