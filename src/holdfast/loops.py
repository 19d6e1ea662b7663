"""One client per running event loop: nothing that talks over a socket outlives its loop or is used from another.

A client of asyncio belongs to the loop in which it was opened. Whoever keeps one in a module or an object that several
loops use (threads, one `asyncio.run` after the other, test fixtures) meets "attached to a different loop" sooner or
later. Keep it in a `LoopBound` instead, and ask for it where it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Generic, TypeVar

from holdfast.cancellation import through_all
from holdfast.errors import Unavailable

T = TypeVar("T")

CHECK_TIMEOUT_S = 0.1
"""How long a client may take to say that it lives."""
CHECK_AFTER_S = 5.0
"""A client that was asked for within this time is taken to live."""
CLOSE_TIMEOUT_S = 5.0
"""How long to wait for another thread's loop to close what is its own."""

_inherited: list[object] = []
"""What came with a fork: the parent's, never touched here, nor ever finalised, which would take it from the parent."""


class LoopBound(Generic[T]):
    """A client of each running loop, opened when it is first asked for there, and closed with its loop.

    `make` opens one; `close` closes one, in its own loop. `check` says whether one still lives: asked before one that
    rested for `check_after_s` seconds is used again, and given 0.1 s; one that does not is closed and opened anew.
    `abandon` gives back at once what one holds whose loop was closed before it (its sockets); it must not await.
    Usable from any thread. After a fork the child opens its own.

    Example::

        clients = LoopBound(lambda: connect(url), lambda client: client.aclose())
        client = await clients.get()
    """

    def __init__(
        self,
        make: Callable[[], Awaitable[T]],
        close: Callable[[T], Awaitable[object]],
        *,
        check: Callable[[T], Awaitable[bool]] | None = None,
        abandon: Callable[[T], object] | None = None,
        check_after_s: float = CHECK_AFTER_S,
        name: str = "client",
    ) -> None:
        self._make = make
        self._close = close
        self._check = check
        self._abandon = abandon
        self._check_after_s = check_after_s
        self._name = name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._bound: dict[asyncio.AbstractEventLoop, _Bound[T]] = {}
        self._is_over = False

    async def get(self) -> T:
        """The running loop's client. Raises what `make` raises; the next call tries again. Unavailable after `end`."""
        if self._is_over:
            raise Unavailable(f"{self._name}: it was closed for good")
        loop = asyncio.get_running_loop()
        bound = self._of(loop)
        if bound.is_open and not bound.is_resting(loop.time() - self._check_after_s):
            bound.used_at = loop.time()
            return bound.client
        async with bound.turn:
            if bound.is_open and not await self._is_alive(bound):
                await bound.close()
            if not bound.is_open:
                await bound.open(self._make, self._close)
            bound.used_at = loop.time()
            return bound.client

    def peek(self) -> T | None:
        """The running loop's client if it is open, without opening one."""
        bound = self._of(asyncio.get_running_loop())
        return bound.client if bound.is_open else None

    async def renew(self) -> None:
        """Close the running loop's client; the next `get` opens another."""
        bound = self._of(asyncio.get_running_loop())
        async with bound.turn:
            await bound.close()

    async def close(self) -> None:
        """Close the clients of all loops, each in its own. Those of loops that stand still are abandoned. Who is
        cancelled meanwhile comes to the last one all the same.

        A later `get` opens one anew.
        """
        self._sweep()
        with self._lock:
            bound, self._bound = self._bound, {}
        for its in bound.values():
            its.is_retired = True
        await through_all(*(functools.partial(self._close_of, loop, its) for loop, its in bound.items()))

    async def end(self) -> None:
        """Close them for good: who is late opens none that nobody would close."""
        self._is_over = True
        await self.close()

    def __len__(self) -> int:
        return sum(bound.is_open for bound in self._bound.values())

    def __repr__(self) -> str:
        return f"LoopBound({self._name}, open={len(self)})"

    async def _close_of(self, loop: asyncio.AbstractEventLoop, its: _Bound[T]) -> None:
        if loop is asyncio.get_running_loop():
            await its.close()
        elif loop.is_running():
            await _closed_elsewhere(its, loop)
        else:
            self._let_go(its)

    def _of(self, loop: asyncio.AbstractEventLoop) -> _Bound[T]:
        if self._pid != os.getpid():
            self._forget()
        if (bound := self._bound.get(loop)) is not None:
            return bound
        self._sweep()
        with self._lock:
            return self._bound.setdefault(loop, _Bound(self._name))

    def _sweep(self) -> None:
        """Let go of what belongs to loops that were closed without it."""
        with self._lock:
            dead = [loop for loop in self._bound if loop.is_closed()]
            gone = [self._bound.pop(loop) for loop in dead]
        for bound in gone:
            self._let_go(bound)

    def _let_go(self, bound: _Bound[T]) -> None:
        for client in bound.take():
            if self._abandon is not None:
                self._abandon(client)

    def _forget(self) -> None:
        _inherited.append(self._bound)
        self._pid, self._lock, self._bound = os.getpid(), threading.Lock(), {}

    async def _is_alive(self, bound: _Bound[T]) -> bool:
        if self._check is None:
            return True
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                return await self._check(bound.client)
        except Exception:  # whatever it says: a client that cannot answer is opened anew, and that may raise
            return False


class _Bound(Generic[T]):
    """What one loop has."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._keeper: AsyncGenerator[T, None] | None = None
        self._client: list[T] = []
        self.turn = asyncio.Lock()
        self.used_at = 0.0
        self.is_retired = False
        """Nobody looks here any more: what is being opened would never be closed."""

    @property
    def is_open(self) -> bool:
        return bool(self._client)

    @property
    def client(self) -> T:
        if not self._client:
            raise Unavailable(f"{self._name}: it was closed just now")
        return self._client[0]

    def take(self) -> list[T]:
        """The client, if there is one, which its loop will not close any more."""
        taken = self._client[:]
        self._client.clear()
        return taken

    def is_resting(self, since: float) -> bool:
        return self.used_at < since

    async def open(self, make: Callable[[], Awaitable[T]], close: Callable[[T], Awaitable[object]]) -> None:
        client = await make()
        if self.is_retired:
            await close(client)
            raise Unavailable(f"{self._name}: it was closed while it was being opened")
        # A loop that ends in order closes the async generators that were begun in it, and so our client.
        self._keeper = _kept(client, close, self._client)
        await anext(self._keeper)

    async def close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.aclose()


async def _kept(client: T, close: Callable[[T], Awaitable[object]], shelf: list[T]) -> AsyncGenerator[T, None]:
    """Keeps `client` on `shelf` until this generator is closed, which closes the client."""
    shelf.append(client)
    try:
        yield client
    finally:
        if shelf:  # or somebody took it, because this loop seemed dead
            shelf.clear()
            await close(client)


async def _closed_elsewhere(bound: _Bound[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Close what another thread's running loop has. One that is blocked is not waited for long: it closes it when it
    comes to it, or ends."""
    with contextlib.suppress(RuntimeError, TimeoutError):  # it ended meanwhile, or is blocked
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            closing = asyncio.run_coroutine_threadsafe(bound.close(), loop)
            await asyncio.shield(asyncio.wrap_future(closing))


def close_socket(transport: Any) -> None:
    """Close the socket below a transport whose loop was closed: no method of the transport can do that any more.

    The transport is marked as closed, too, or its finaliser and those of its users complain that nobody closed it.
    """
    inner = transport.get_extra_info("socket") if transport is not None else None
    own = getattr(transport, "_sock", None) or getattr(inner, "_sock", None)
    if own is not None:
        own.close()
        with contextlib.suppress(AttributeError):
            transport._closing, transport._sock = True, None
