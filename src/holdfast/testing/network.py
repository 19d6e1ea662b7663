"""A TCP proxy that behaves as networks do on bad days: it delays, cuts, refuses, and goes silent.

It knows nothing of what it carries, so that it stands before any server. It lives in the loop that entered it.
"""

from __future__ import annotations

import asyncio
import contextlib

CHUNK_BYTES = 65536


class TcpProxy:
    """Carries connections of a port of loopback, `port`, to a server.

    Example: `async with TcpProxy("127.0.0.1", 5432) as proxy: proxy.silence()`.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_refusing = False
        self._delay_s = 0.0
        self.port = 0

    async def __aenter__(self) -> TcpProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        sessions = list(self._sessions)
        for session in sessions:
            session.cancel()
        self.cut()
        await asyncio.gather(*sessions, return_exceptions=True)

    def delay(self, seconds: float) -> None:
        """From now on every piece of data is late by `seconds`, either way."""
        self._delay_s = seconds

    def cut(self) -> None:
        """Reset all connections that there are. New ones are taken."""
        for writers in self._sessions.values():
            for writer in writers:
                writer.transport.abort()

    def refuse(self) -> None:
        """Reset all connections, and new ones as soon as they come."""
        self._is_refusing = True
        self.cut()

    def silence(self) -> None:
        """Half-open: connections stay and new ones are accepted, but nobody hears of anybody."""
        self._passes.clear()

    def heal(self, *, delivers: bool = True) -> None:
        """All is well again. What was sent into silence is delivered late, as TCP does; or, where the network has
        forgotten its connections, they are cut."""
        self._delay_s = 0.0
        self._is_refusing = False
        if not delivers:
            self.cut()
        self._passes.set()

    def __len__(self) -> int:
        return len(self._sessions)

    def __repr__(self) -> str:
        return f"TcpProxy({self.port} -> {self._target[0]}:{self._target[1]}, connections={len(self)})"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        writers = self._sessions[session] = [writer]
        try:
            if not self._is_refusing:
                await self._carry(reader, writers)
        except (OSError, asyncio.CancelledError):
            pass  # either end may be gone at any moment, or the proxy is: all of them end the session
        finally:
            for each in writers:
                each.transport.abort()
            del self._sessions[session]

    async def _carry(self, reader: asyncio.StreamReader, writers: list[asyncio.StreamWriter]) -> None:
        await self._passes.wait()
        there, writer = await asyncio.open_connection(*self._target)
        writers.append(writer)
        async with asyncio.TaskGroup() as ways:
            ways.create_task(self._pump(reader, writer))
            ways.create_task(self._pump(there, writers[0]))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            await self._passes.wait()
        writer.transport.close()
