"""Reading: what is asked for at about the same time is one message, or one transaction, for all who ask.

By key it is a function of the schema and one message. Anything else is a transaction, whose statement is sent once with
everybody's parameters. The system's questions and users' go apart, for they go under different roles.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec

from holdfast.errors import Unavailable
from holdfast.store.contract.protocol import history_order
from holdfast.store.contract.records import Key, Scope
from holdfast.store.postgres import tables
from holdfast.store.postgres.connections import Connections, reach
from holdfast.store.postgres.errors import is_lost
from holdfast.store.postgres.schema import Schema
from holdfast.store.writing.gathering import Gathering

T = TypeVar("T")
READ = "SELECT * FROM holdfast.read_1($1)"
READS_MAX = 3
"""How often one read is tried whose connection is lost."""
READ_PAUSE_S = 0.1
TOGETHER_MAX = 100
"""Questions in one batch."""
AT_ONCE = 2
"""Batches under way of each kind of question: one is answered while the next is gathered."""


class _Keys(NamedTuple):
    scope: Scope
    keys: Sequence[Key]


class _Question(NamedTuple):
    scope: Scope
    parameters: tuple[object, ...]


class Reader:
    """Answers with rows as the driver gives them. Usable from any loop."""

    def __init__(self, connections: Connections, schema: Schema) -> None:
        self._connections = connections
        self._schema = schema
        self._by_key: Gathering[_Keys, list[Any]] = Gathering(self._read, at_most=TOGETHER_MAX, at_once=AT_ONCE)
        self._others: Gathering[_Question, list[Any]] = Gathering(self._ask, at_most=TOGETHER_MAX, at_once=AT_ONCE)

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Any]:
        """The rows there are of `keys`: the number of the key in the list, from 1, and the columns of RECORD."""
        return await self._by_key.ask(scope.tenant is None, _Keys(scope, keys))

    async def rows(self, scope: Scope, sql: str, *parameters: object) -> list[Any]:
        """What a query finds, in its order."""
        return await self._others.ask((scope.tenant is None, sql), _Question(scope, parameters))

    async def _read(self, _: bool, asked: Sequence[_Keys]) -> list[list[Any]]:
        role, listed = reach({each.scope: None for each in asked})
        keys = [history_order(key) for each in asked for key in each.keys]
        document = tables.text_of({"role": role, "scopes": msgspec.Raw(listed), "keys": keys})

        places = [(number, place) for number, each in enumerate(asked) for place, _ in enumerate(each.keys, 1)]
        found: list[list[Any]] = [[] for _ in asked]
        for row, *values in await self._persistent(lambda: self._connections.fetch(READ, document)):
            number, place = places[row - 1]
            found[number].append((place, *values))
        return found

    async def _ask(self, group: tuple[bool, str], asked: Sequence[_Question]) -> list[list[Any]]:
        _, sql = group
        number = len(asked[0].parameters) + 1
        numbered = f"SELECT ${number}::int AS asker, found.* FROM ({sql}) AS found"
        arguments = [(*each.parameters, place) for place, each in enumerate(asked)]
        scopes = dict.fromkeys(each.scope for each in asked)

        async def ask() -> list[Any]:
            async with self._connections.reading(*scopes) as connection:
                return await connection.fetchmany(numbered, arguments)

        found: list[list[Any]] = [[] for _ in asked]
        for place, *values in await self._persistent(ask):
            found[place].append(values)
        return found

    async def _persistent(self, ask: Callable[[], Awaitable[T]]) -> T:
        """The answer, asked for again where the connection was lost: reading twice does no harm."""
        await self._schema.ensure()
        async with self._connections.server.passing():  # one call, however often it is tried
            return await self._tried(ask)

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(READS_MAX):
            try:
                return await ask()
            except Unavailable as error:
                if attempt == READS_MAX - 1 or not is_lost(error.__cause__):
                    raise
            await asyncio.sleep(READ_PAUSE_S * attempt)
        raise AssertionError("unreachable")

    def __repr__(self) -> str:
        return f"Reader({self._connections!r}, {self._by_key!r}, {self._others!r})"
