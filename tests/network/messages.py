"""The messages of PostgreSQL's protocol, as far as who stands between client and server must tell them apart."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
START_TIMEOUT_S = 20.0


class Message(NamedTuple):
    """One message: its type, its body, and all of its bytes. A start-up message has no type."""

    kind: bytes
    body: bytes
    raw: bytes


async def read_message(reader: asyncio.StreamReader) -> Message:
    """The next message. Raises IncompleteReadError at the end."""
    kind = await reader.readexactly(1)
    length = await reader.readexactly(4)
    body = await reader.readexactly(struct.unpack("!i", length)[0] - 4)
    return Message(kind, body, kind + length + body)


async def read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    """The message that opens a session or cancels another one's statement; encryption is declined."""
    while True:
        length = await reader.readexactly(4)
        body = await reader.readexactly(struct.unpack("!i", length)[0] - 4)
        if code_of(body) not in (SSL_REQUEST, GSS_REQUEST):
            return Message(b"", body, length + body)
        writer.write(b"N")


def code_of(body: bytes) -> int:
    """What a start-up message asks for: a version of the protocol, or one of the requests."""
    code: int = struct.unpack("!i", body[:4])[0]
    return code


class Statements:
    """The statements that one client has prepared: tells what a message makes the server execute."""

    def __init__(self) -> None:
        self._prepared: dict[bytes, str] = {}
        self._bound: dict[bytes, str] = {}

    def executed_by(self, message: Message) -> str | None:
        """The SQL that `message` executes, None where it executes nothing."""
        first, _, rest = message.body.partition(b"\0")
        match message.kind:
            case b"P":
                self._prepared[first] = rest.partition(b"\0")[0].decode()
            case b"B":
                self._bound[first] = self._prepared.get(rest.partition(b"\0")[0], "")
            case b"E":
                return self._bound.get(first, "")
            case b"Q":
                return first.decode()
        return None


@contextlib.contextmanager
def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    close: Callable[[], object] = lambda: None,
) -> Iterator[int]:
    """A port that `serve` answers, on a loop in a thread of its own: it goes on while a test's loop waits."""
    is_ready, ports, loops = threading.Event(), list[int](), list[asyncio.AbstractEventLoop]()
    may_end = asyncio.Event()

    async def main() -> None:
        sessions = dict[asyncio.Task[None], asyncio.StreamWriter]()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if may_end.is_set():  # accepted before the listener closed, and told of only now
                writer.transport.abort()
                return
            task = asyncio.get_running_loop().create_task(_served(serve, reader, writer))
            sessions[task] = writer
            task.add_done_callback(sessions.pop)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append(asyncio.get_running_loop())
        is_ready.set()
        await may_end.wait()
        server.close()
        for task, writer in tuple(sessions.items()):
            writer.transport.abort()  # one that has not begun yet will not do it
            task.cancel()
        close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # those that are just being accepted, too
            await asyncio.wait(others)
        await asyncio.sleep(0)  # transports close their sockets in the next turn

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="network", daemon=True)
    thread.start()
    assert is_ready.wait(START_TIMEOUT_S), "nobody listens"
    try:
        yield ports[0]
    finally:
        loops[0].call_soon_threadsafe(may_end.set)
        thread.join(START_TIMEOUT_S)


async def _served(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One session, whose client or server may be gone at any moment."""
    try:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
    finally:
        writer.transport.abort()
