"""A proxy before PostgreSQL that reads along, and cuts or holds up a connection at the message it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator

from tests.network.messages import CANCEL_REQUEST, Statements, code_of, listening, read_message, read_startup


class Fate(enum.Enum):
    """What becomes of a connection at a statement."""

    PASS = "it goes on"
    CUT_BEFORE = "cut: the server does not hear of the statement"
    CUT_AFTER = "cut as soon as the statement is on its way: nobody knows how far the server is"
    CUT_ANSWERED = "cut when the server has answered: the client does not hear of it"
    CUT_LATE = "cut: the server hears of the statement a good while later"
    STALL = "held up: neither side hears of the other any more, until the proxy ends"


LATE_S = 0.5
Decide = Callable[[str], Fate]
"""Told what each statement is, in the proxy's thread."""


class Proxy:
    """What a test sees of a running proxy."""

    def __init__(self, port: int, decide: Decide) -> None:
        self.port = port
        self._decide = decide
        self._lock = threading.Lock()
        self.fates: Counter[Fate] = Counter()
        self.late = threading.Semaphore(0)

    def url(self, url: str) -> str:
        """`url` of the server, by way of this proxy."""
        return through(url, self.port)

    def decide(self, sql: str) -> Fate:
        """What becomes of the connection that executes `sql`; counted."""
        with self._lock:
            fate = self._decide(sql)
            self.fates[fate] += 1
            return fate

    def __repr__(self) -> str:
        return f"Proxy({self.port}, {dict(self.fates)})"


class Once:
    """`fate` for the `nth` statement that contains `part`, counted from the last `arm`."""

    def __init__(self, part: str, fate: Fate, *, nth: int = 1) -> None:
        self._part = part
        self._fate = fate
        self._nth = nth
        self._left = 0
        self.happened = threading.Event()

    def arm(self) -> None:
        """From now on."""
        self._left = self._nth

    def __call__(self, sql: str) -> Fate:
        if not self._left or self._part not in sql:
            return Fate.PASS
        self._left -= 1
        if self._left:
            return Fate.PASS
        self.happened.set()
        return self._fate


@contextlib.contextmanager
def proxied(url: str, decide: Decide) -> Iterator[Proxy]:
    """A proxy before the server of `url`."""
    port = urllib.parse.urlsplit(url).port
    assert port is not None
    holder: list[Proxy] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Session(holder[0], reader, writer).play(port)

    with listening(serve) as own_port:
        holder.append(Proxy(own_port, decide))
        yield holder[0]


def through(url: str, port: int) -> str:
    """`url` with another port of loopback."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=f"{parts.username}@127.0.0.1:{port}"))


class _Session:
    """One client's connection."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._statements = Statements()
        self._is_deaf = False
        self._is_answered = asyncio.Event()

    async def play(self, port: int) -> None:
        """Until one side or the fate ends it."""
        first = await read_startup(*self._client)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            server_writer.write(first.raw)
            if code_of(first.body) == CANCEL_REQUEST:
                await server_writer.drain()
                server_writer.close()
                return
            ways = [
                asyncio.create_task(self._to_server(server_writer)),
                asyncio.create_task(self._to_client(server_reader)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            server_writer.transport.abort()

    async def _to_server(self, writer: asyncio.StreamWriter) -> None:
        while True:
            message = await read_message(self._client[0])
            sql = self._statements.executed_by(message)
            fate = Fate.PASS if sql is None else self._proxy.decide(sql)
            if fate is Fate.CUT_BEFORE:
                return
            if fate is Fate.STALL:
                self._is_deaf = True
                await asyncio.Event().wait()
            if fate is not Fate.PASS:
                self._is_deaf = True
                self._is_answered.clear()
            whole = message.raw
            while fate is not Fate.PASS and message.kind not in (b"Q", b"S"):
                message = await read_message(self._client[0])  # the server acts when it is told that this was all
                whole += message.raw
            if fate is Fate.CUT_LATE:
                self._client[1].transport.abort()
                await asyncio.sleep(LATE_S)
            writer.write(whole)
            await writer.drain()
            if fate is Fate.CUT_AFTER:
                self._client[1].transport.abort()
            if fate is not Fate.PASS:
                await self._is_answered.wait()
                if fate is Fate.CUT_LATE:
                    self._proxy.late.release()
                return

    async def _to_client(self, reader: asyncio.StreamReader) -> None:
        while True:
            message = await read_message(reader)
            if message.kind == b"Z":
                self._is_answered.set()
            if not self._is_deaf:
                self._client[1].write(message.raw)
                await self._client[1].drain()
