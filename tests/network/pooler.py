"""A pooler in transaction mode, as pgbouncer is one: a client has a connection for one transaction, then another.

It knows no prepared statements, forgets what a session was told, and never gives a client the connection it had last.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import urllib.parse
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from tests.network.messages import CANCEL_REQUEST, code_of, listening, read_message, read_startup
from tests.network.proxy import through

SIZE = 3
"""Connections to the server; fewer than clients have."""
_PROTOCOL = 3 << 16
_READY = b"Z" + struct.pack("!i", 5) + b"I"


class _Link(NamedTuple):
    """A connection to the server, and what the server told of its settings."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes


class Pooler:
    """What a test sees of it."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        assert parts.port is not None
        self._server_port = parts.port
        self._settings = {"user": parts.username or "", "database": parts.path.strip("/")}
        self._url = url
        self._idle: deque[_Link] = deque()
        self._open = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._may_take = asyncio.Condition()
        self.port = 0
        self.transactions = 0
        self.moves = 0

    @property
    def url(self) -> str:
        """The server's URL, by way of this pooler."""
        return f"{through(self._url, self.port)}?statement_cache_size=0"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it goes."""
        if code_of((await read_startup(reader, writer)).body) == CANCEL_REQUEST:
            return
        first = await self._take(None)
        self._give_back(first)
        writer.write(_message(b"R", struct.pack("!i", 0)) + first.greeting + _message(b"K", bytes(8)) + _READY)
        link, last = None, first
        answers: asyncio.Task[None] | None = None
        try:
            while True:
                message = await read_message(reader)
                if message.kind == b"X":
                    return
                if answers is None or answers.done():
                    link = await self._take(last)
                    self.transactions += 1
                    self.moves += link is not last
                    last = link
                    answers = asyncio.create_task(self._until_idle(link, writer))
                assert link is not None
                link.writer.write(message.raw)
                await link.writer.drain()
        finally:
            if answers is not None and not answers.done():
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)

    def close(self) -> None:
        """Let go of the server."""
        for writer in self._writers:
            writer.transport.abort()

    async def _until_idle(self, link: _Link, client: asyncio.StreamWriter) -> None:
        """Pass the server's answers on until it stands outside every transaction; then `link` is anybody's."""
        is_idle = False
        try:
            while not is_idle:
                message = await read_message(link.reader)
                is_idle = message.kind == b"Z" and message.body == b"I"
                if is_idle:
                    self._give_back(link)
                client.write(message.raw)
                await client.drain()
        finally:
            if not is_idle:
                link.writer.transport.abort()
                client.transport.abort()
                self._open -= 1

    async def _take(self, but: _Link | None) -> _Link:
        """A connection that nobody uses; another one than `but`."""
        while True:
            for link in self._idle:
                if link is not but:
                    self._idle.remove(link)
                    return link
            if self._open < SIZE:
                self._open += 1
                return await self._connect()
            async with self._may_take:
                await self._may_take.wait()

    def _give_back(self, link: _Link) -> None:
        self._idle.append(link)
        asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        async with self._may_take:
            self._may_take.notify_all()

    async def _connect(self) -> _Link:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers.append(writer)
        settings = b"".join(f"{name}\0{value}\0".encode() for name, value in self._settings.items())
        body = struct.pack("!i", _PROTOCOL) + settings + b"\0"
        writer.write(struct.pack("!i", len(body) + 4) + body)
        greeting = b""
        while (message := await read_message(reader)).kind != b"Z":
            assert message.kind != b"E", message.body
            if message.kind == b"S":
                greeting += message.raw
        return _Link(reader, writer, greeting)


@contextlib.contextmanager
def pooled(url: str) -> Iterator[Pooler]:
    """A pooler before the server of `url`."""
    pooler = Pooler(url)
    with listening(pooler.serve, pooler.close) as port:
        pooler.port = port
        yield pooler


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body
