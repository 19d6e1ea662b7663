"""The connections of one store: a pool per running loop, and the one function that opens transactions.

Nothing lives in a session: the role, the scopes and the limits are the transaction's own, so that any connection does,
a pooler's in transaction mode included. What a pooled connection was left with by somebody else means nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import asyncpg

from holdfast import codec, faults
from holdfast.clock import monotonic_s
from holdfast.errors import CommitUnknown, HoldfastError, Unavailable
from holdfast.loops import LoopBound, close_socket
from holdfast.store.contract.records import SHARED, Scope
from holdfast.store.postgres.address import Address
from holdfast.store.postgres.errors import EVERYTHING, is_away, is_fate_unknown, is_lost, translate
from holdfast.store.servers.breaker import ServerBreaker

T = TypeVar("T")
CONNECT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 20.0
"""How long a transaction may wait for this process, before the server gives its locks to others."""
CLOSE_TIMEOUT_S = 5.0

_SETTINGS = {
    "lock_timeout": f"{LOCK_TIMEOUT_S:.0f}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S:.0f}s",
    # The store asks by key, many at a time. Plans are made once, while the tables are small, and kept: a plan that
    # reads a whole table because it was empty then would be kept as well.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}
_SET = "".join(f", set_config('{name}', '{value}', true)" for name, value in _SETTINGS.items())


class Connection(Protocol):
    """What we use of the driver's connection, which has no types."""

    async def fetch(self, query: str, *arguments: object) -> list[Any]: ...
    async def fetchmany(self, query: str, arguments: Sequence[Sequence[object]]) -> list[Any]: ...
    async def fetchval(self, query: str, *arguments: object) -> Any: ...
    async def execute(self, query: str, *arguments: object) -> str: ...
    async def add_listener(self, channel: str, callback: Callable[[Any, int, str, Any], None]) -> None: ...
    def transaction(self) -> AbstractAsyncContextManager[None]: ...
    def is_closed(self) -> bool: ...
    def is_in_transaction(self) -> bool: ...
    def terminate(self) -> None: ...


class Pool(Protocol):
    """What we use of the driver's pool."""

    async def acquire(self, *, timeout: float) -> Connection: ...  # noqa: ASYNC109 - the driver's name
    async def release(self, connection: Connection) -> None: ...
    async def close(self) -> None: ...
    def terminate(self) -> None: ...


class Connections:
    """Opened when they are first used in a loop, closed with it; at most `size` of them in a loop.

    The driver bounds the wait for each answer by `address.answer_timeout_s`. All that is asked goes through `server`,
    the breaker of all who ask there. `lent`, `writing` and `session` pass it; who uses the others has passed it.
    """

    def __init__(self, address: Address, *, size: int, server: ServerBreaker | None = None) -> None:
        self._address = address
        self._size = size
        self.server = server or ServerBreaker("store.postgres", "database", self._select_one, is_away=is_away)
        self._pools: LoopBound[Pool] = LoopBound(self._open, _close, abandon=_abandon, name=address.shown)
        self._is_closed = False

    @property
    def address(self) -> Address:
        """Where they lead to."""
        return self._address

    async def acquire(self) -> Connection:
        """A connection of the running loop's pool. Raises the store's errors."""
        self._check_open()
        began = monotonic_s()
        try:
            pool = await self._pools.get()
            return await pool.acquire(timeout=self._address.answer_timeout_s)
        except EVERYTHING as error:
            if isinstance(error, TimeoutError) and monotonic_s() - began >= self._address.answer_timeout_s:
                raise translate(error, self._address.shown) from None  # our own crowd, which is no outage
            raise translate(error, self._address.shown) from error

    async def release(self, connection: Connection, *, is_done: bool) -> None:
        """Give one back; one that is not done with what it was asked is closed, which undoes it."""
        with contextlib.suppress(*EVERYTHING):  # it was lost, and the pool knows already
            if not is_done:
                connection.terminate()  # quicker than to ask a server that may not answer, and as safe
            if (pool := self._pools.peek()) is None:  # the loop ends, or the store: its pool is closed, or about to be
                connection.terminate()
                return
            try:
                await pool.release(connection)
            except asyncio.CancelledError:
                # A loop that ends cancels the pool's own task as well, which then has not put it back.
                with contextlib.suppress(*EVERYTHING):
                    connection.terminate()
                raise

    async def begin(self, scopes: Iterable[Scope], options: str = "") -> Connection:
        """A connection with a transaction begun."""
        opening = self.opening(scopes, options)
        connection, _ = await self._first(lambda connection: connection.execute(opening))
        return connection

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """The rows of a statement that only reads and is a transaction by itself. Raises the store's errors."""
        connection, rows = await self._first(lambda connection: connection.fetch(query, *arguments))
        await self.release(connection, is_done=True)
        return rows

    async def _first(self, ask: Callable[[Connection], Awaitable[T]]) -> tuple[Connection, T]:
        """A connection and its answer to `ask`. One that was lost while it rested is passed over for the next."""
        lost: BaseException | None = None
        for _ in range(self._size + 1):
            connection = await self.acquire()
            is_answered = False
            try:
                answer = await ask(connection)
                is_answered = True
                return connection, answer
            except EVERYTHING as error:
                if not is_lost(error):
                    raise translate(error, self._address.shown) from error
                lost = error
            finally:
                if not is_answered:
                    await self.release(connection, is_done=False)
        assert lost is not None, "only a lost connection leads to another"
        raise translate(lost, self._address.shown) from lost

    def opening(self, scopes: Iterable[Scope], options: str = "") -> str:
        """What opens a transaction: its role and, for users and tenants, the list of scopes that it is let into."""
        role, listed = reach(scopes)
        # In hexadecimal, so that no name needs quoting.
        granted = f"convert_from('\\x{listed.hex()}'::bytea, 'UTF8')"
        chosen = f"set_config('holdfast.scopes', {granted}, true), set_config('role', '{role}', true)"
        limit = f"set_config('statement_timeout', '{self._address.statement_timeout_s}s', true)"
        return f"BEGIN {options}; SELECT {chosen}, {limit}{_SET}"

    @contextlib.asynccontextmanager
    async def lent(self) -> AsyncIterator[Connection]:
        """A connection for a while, closed where the block fails. Raises the store's errors."""
        async with self.server.passing(), self._held(await self.acquire()) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _held(self, connection: Connection) -> AsyncIterator[Connection]:
        is_done = False
        try:
            yield connection
            is_done = True
        except EVERYTHING as error:
            raise translate(error, self._address.shown) from error
        finally:
            await self.release(connection, is_done=is_done)

    @contextlib.asynccontextmanager
    async def reading(self, *scopes: Scope, options: str = "") -> AsyncIterator[Connection]:
        """A transaction that reads what `scopes` cover. `options` follow BEGIN. Raises the store's errors."""
        async with self._held(await self.begin(scopes, f"{options} READ ONLY")) as connection:
            yield connection
            await connection.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def writing(self, *scopes: Scope) -> AsyncIterator[Connection]:
        """A transaction that sees and writes what `scopes` cover, committed where the block ends well.

        Raises the store's errors; CommitUnknown where the answer to COMMIT was lost.
        """
        async with self.server.passing(), self._held(await self.begin(scopes)) as connection:
            yield connection
            await self.commit(connection)

    async def commit(self, connection: Connection) -> None:
        """End the transaction. Raises Unavailable where it was certainly undone, CommitUnknown where nobody knows."""
        place = self._address.shown
        try:
            tag = await connection.execute("COMMIT")
        except EVERYTHING as error:
            if is_fate_unknown(error):
                raise CommitUnknown(f"{place}: the answer to COMMIT was lost ({error!r})", place=place) from error
            raise translate(error, place) from error
        if tag != "COMMIT":
            raise Unavailable(f"{place}: expected COMMIT, the server answered {tag}; nothing was written", place=place)

    async def at_once(self, connection: Connection, query: str, *arguments: object) -> Any:
        """The answer to a statement that is a transaction by itself. Raises the driver's error where it was certainly
        undone, CommitUnknown where nobody knows."""
        place = self._address.shown
        try:
            return await connection.fetchval(query, *arguments)
        except EVERYTHING as error:
            if is_fate_unknown(error):
                raise CommitUnknown(f"{place}: the answer to a commit was lost ({error!r})", place=place) from error
            raise

    async def session(self) -> Connection:
        """A connection outside the pool, for what belongs to a session: listening. The caller closes it."""
        self._check_open()
        try:
            async with self.server.passing():
                return await self._connect(statement_cache_size=0)
        except EVERYTHING as error:
            raise translate(error, self._address.shown) from error

    async def _select_one(self) -> bool:
        """Whether a server is there that takes connections and answers: on one of its own, for those of the pool may
        all be waiting."""
        try:
            connection = await self._connect(statement_cache_size=0)
            try:
                return bool(await connection.fetchval("SELECT 1"))
            finally:
                connection.terminate()
        except EVERYTHING:
            return False

    async def close(self) -> None:
        """Close the pools of all loops, for good."""
        self._is_closed = True
        await self._pools.end()

    def __repr__(self) -> str:
        return f"Connections({self._address.shown!r}, pools={len(self._pools)})"

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable(f"{self._address.shown}: the store is closed; open another")

    async def _open(self) -> Pool:
        pool: Pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._size,
            connect=self._connect,
            reset=_nothing_to_reset,
            statement_cache_size=self._address.statement_cache_size,
        )
        return pool

    async def _connect(self, *_: object, **options: Any) -> Connection:
        options.setdefault("statement_cache_size", self._address.statement_cache_size)
        name = f"holdfast {self._address.process}".strip()
        connection: Connection = await asyncpg.connect(
            self._address.dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._address.answer_timeout_s,
            server_settings={"application_name": name[:63]},
            **options,
        )
        return connection


def reach(scopes: Iterable[Scope]) -> tuple[str, bytes]:
    """The role of a transaction for `scopes`, and what the policies look for in them, as JSON."""
    known = tuple(scopes)
    if any(scope.tenant is None for scope in known):
        return "holdfast_system", b"{}"
    entries = dict.fromkeys(entry for scope in known for entry in _entries(scope))
    return "holdfast_scoped", codec.encode(entries, bytes_max=1 << 26)


def _entries(scope: Scope) -> list[str]:
    """The keys that the policies look for. They begin with the length of the tenant's name: none poses as another."""
    tenant = scope.tenant or ""
    whole = f"{len(tenant)}:{tenant}"
    return [whole] if scope.user is None else [f"{whole}/{scope.user}", f"{whole}/{SHARED}"]


async def _nothing_to_reset(_: object) -> None:
    """Every transaction of ours says what it needs."""


async def _close(pool: Pool) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await pool.close()
    except (*EVERYTHING, HoldfastError):
        pool.terminate()


def abandon(connection: Any) -> None:
    """Close the socket of a connection whose loop is gone."""
    if connection is not None:
        close_socket(getattr(connection, "_transport", None))
        connection._aborted = True  # or its finaliser complains that nobody closed it


def _abandon(pool: Pool) -> None:
    for holder in getattr(pool, "_holders", ()):
        abandon(getattr(holder, "_con", None))


def committed(place: str) -> None:
    """The fault point behind COMMIT, where the answer can be lost on purpose."""
    try:
        faults.point("store-after-commit")
    except Unavailable as error:
        raise CommitUnknown(f"{place}: the answer to a commit was lost", place=place) from error
