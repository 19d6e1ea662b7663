"""One consistent view of an SQLite store: a read transaction on a connection of its own."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor
from pathlib import Path
from typing import TypeVar

from holdfast.store.contract.history import History, Stream
from holdfast.store.contract.records import Key
from holdfast.store.sqlite import inspection, schema
from holdfast.store.sqlite.errors import translated

T = TypeVar("T")


class SqliteSnapshot:
    """A `Snapshot` of the file `path`, between `begin` and `end`."""

    def __init__(self, path: Path, executor: Executor | None) -> None:
        self._path = path
        self._executor = executor
        self._connection: sqlite3.Connection | None = None
        self._listings: list[Generator[Key, None, None]] = []
        self.incarnation = 0

    async def begin(self) -> SqliteSnapshot:
        """Look at the file as it is now."""
        self._connection = await self._run(lambda: schema.connect(self._path, "ro"))
        await self._ask(lambda connection: connection.execute("BEGIN"))
        self.incarnation = await self._ask(inspection.incarnation_of)
        return self

    async def end(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None

        def close() -> None:
            for keys in self._listings:  # whoever stopped in the middle left his cursor open
                keys.close()
            if connection is not None:
                connection.close()

        await self._run(close)

    async def histories(self, *, after: Key | None = None) -> AsyncIterator[History]:
        keys = await self._ask(lambda connection: inspection.ordered_keys(connection, after))
        self._listings.append(keys)
        while page := await self._ask(lambda _: list(itertools.islice(keys, inspection.PAGE_KEYS))):
            for history in await self._page(page):
                yield history

    async def streams(self) -> dict[Stream, int]:
        return await self._ask(inspection.streams)

    async def _page(self, keys: list[Key]) -> list[History]:
        return await self._ask(lambda connection: list(inspection.histories(connection, keys)))

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        assert connection is not None, "a snapshot is asked between begin and end"

        def ask() -> T:
            with translated(self._path):
                return question(connection)

        return await self._run(ask)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
