"""How processes hear of each other's commits: a coalesced NOTIFY off the write path, and a look now and then.

A NOTIFY inside each transaction would take a lock of the whole server at every commit. So a process that has committed
says so once, in a transaction of its own, a moment later. Where nobody can listen (behind a pooler in transaction mode)
the server's snapshot tells whether anything was written at all.
"""

from __future__ import annotations

import asyncio
from typing import Any

from holdfast.cancellation import through_all
from holdfast.errors import HoldfastError, Unavailable
from holdfast.logs import get_logger
from holdfast.loops import LoopBound
from holdfast.store.postgres.connections import Connection, Connections, abandon
from holdfast.store.postgres.errors import EVERYTHING
from holdfast.store.writing.wakeup import Wakeup
from holdfast.tasks import Supervisor

CHANNEL = "holdfast"
COALESCE_S = 0.05
"""How long after a commit others are told of it, together with whatever else was committed until then."""
LOOK_EVERY_S = 1.0
"""How often whoever waits looks by himself."""
_SAY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)"
log = get_logger(__name__)


class Notices:
    """Says and hears that something was committed. `me` is this process's name among others."""

    def __init__(self, connections: Connections, wakeup: Wakeup, *, me: str) -> None:
        self._connections = connections
        self._wakeup = wakeup
        self._me = me
        self._listeners: LoopBound[Connection] = LoopBound(
            self._listen, _hang_up, check=_is_open, abandon=abandon, check_after_s=LOOK_EVERY_S, name="listener"
        )
        self._talk: LoopBound[_Talk] = LoopBound(self._begin_to_talk, _end_talk, name="notifier")
        self._seen = ""

    async def committed(self) -> None:
        """This process has committed something: other processes are told soon."""
        (await self._talk.get()).say()

    async def wait(self, since: int) -> int:
        """A count greater than `since` once anybody has committed."""
        while True:
            count = self._wakeup.count
            if count > since:
                return count
            try:
                await self._listeners.get()
            except HoldfastError as error:
                log.info("listening_failed", error=error.message)
            count = await self._wakeup.wait(since, timeout_s=LOOK_EVERY_S)
            if count > since:
                return count
            await self.look()

    async def look(self) -> None:
        """See whether anything was written since the last look, on the whole server: cheap, and often too much."""
        async with self._connections.lent() as connection:
            seen = await connection.fetchval("SELECT pg_current_snapshot()::text")
        is_news, self._seen = seen != self._seen, seen
        if is_news:
            self._wakeup.advance()

    async def close(self) -> None:
        """Say what is unsaid, hear nothing more."""
        talk = self._talk.peek()
        await through_all(*([talk.end] if talk is not None else []), self._talk.close, self._listeners.end)

    async def _listen(self) -> Connection:
        connection = await self._connections.session()
        is_listening = False
        try:
            await connection.add_listener(CHANNEL, self._hear)
            is_listening = True
        except EVERYTHING as error:
            raise Unavailable(f"{self._connections.address.shown}: cannot listen ({error})") from error
        finally:
            if not is_listening:  # who waits may be cancelled just now, and nobody else knows of this connection
                connection.terminate()
        return connection

    def _hear(self, _connection: Any, _pid: int, _channel: str, who: Any) -> None:
        if who != self._me:
            self._wakeup.advance()

    async def _begin_to_talk(self) -> _Talk:
        return _Talk(self._connections, self._me)


class _Talk:
    """What one loop says."""

    def __init__(self, connections: Connections, me: str) -> None:
        self._connections = connections
        self._me = me
        self._tasks = Supervisor("holdfast", on_failure=self._failed)
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False

    def say(self) -> None:
        """Tell others in a moment, unless that is about to happen."""
        self._is_due = True
        if self._timer is None and not len(self._tasks):
            self._timer = asyncio.get_running_loop().call_later(COALESCE_S, self._begin)

    async def end(self) -> None:
        """Tell them now what they were not told yet."""
        await self.be_quiet()
        if self._is_due:
            try:
                await self._tell()
            except HoldfastError as error:
                log.info("notice_unsaid", error=error.message)

    async def be_quiet(self) -> None:
        """Say nothing more: the loop ends. Others look by themselves."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._tasks.stop()

    def _begin(self) -> None:
        self._timer = None
        self._tasks.start(self._tell(), name="notice")

    async def _tell(self) -> None:
        self._is_due = False
        async with self._connections.lent() as connection:
            await connection.fetch(_SAY, CHANNEL, self._me)

    def _failed(self, _name: str, error: BaseException) -> None:
        log.info("notice_unsaid", error=repr(error))  # others look by themselves now and then


async def _is_open(connection: Connection) -> bool:
    return not connection.is_closed()


async def _hang_up(connection: Connection) -> None:
    connection.terminate()  # nothing is under way on it, and the server need not answer


async def _end_talk(talk: _Talk) -> None:
    await talk.be_quiet()
