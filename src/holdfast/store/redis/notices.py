"""How processes hear of each other's commits: a coalesced PUBLISH off the write path, and a look now and then.

The look is at a counter that each commit raises with what it writes. In a cluster it lies on another node than the
tenant, and is raised with the PUBLISH: what a process commits in the last milliseconds before it dies, nobody hears of.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from holdfast.cancellation import through_all
from holdfast.errors import BreakerOpen, HoldfastError
from holdfast.logs import get_logger
from holdfast.loops import LoopBound
from holdfast.store.redis.calls import Calls
from holdfast.store.redis.errors import EVERYTHING
from holdfast.store.servers.redis_clients import abandon, close
from holdfast.store.writing.wakeup import Wakeup
from holdfast.tasks import Supervisor

COALESCE_S = 0.05
"""How long after a commit others are told of it, together with whatever else was committed until then."""
LOOK_EVERY_S = 1.0
"""How often whoever waits looks by himself."""
log = get_logger(__name__)


class Notices:
    """Says and hears that something was committed. `me` is this process's name among others."""

    def __init__(self, calls: Calls, wakeup: Wakeup, *, me: str) -> None:
        self._calls = calls
        self._wakeup = wakeup
        self._me = me
        self._ears: LoopBound[_Ear] = LoopBound(
            self._listen, _Ear.close, check=_Ear.hears, abandon=_Ear.abandon, name="listener"
        )
        self._talk: LoopBound[_Talk] = LoopBound(self._begin_to_talk, _Talk.be_quiet, name="notifier")
        self._seen = b""

    async def committed(self) -> None:
        """This process has committed something: other processes are told soon."""
        (await self._talk.get()).say()

    async def wait(self, since: int) -> int:
        """A count greater than `since` once anybody has committed."""
        while True:
            try:
                ear = await self._ears.get()
                if not await ear.hears():  # its connection was lost: the next round opens another
                    await self._ears.renew()
            except HoldfastError as error:
                log.info("listening_failed", error=error.message)
            count = await self._wakeup.wait(since, timeout_s=LOOK_EVERY_S)
            if count > since:
                return count
            await self.look()

    async def look(self) -> None:
        """See whether anybody has told of a commit since the last look."""
        seen = await self._calls.command("HGET", self._calls.places.facts, "commits") or b""
        is_news, self._seen = seen != self._seen, seen
        if is_news:
            self._wakeup.advance()

    async def close(self) -> None:
        """Say what is unsaid, hear nothing more."""
        talk = self._talk.peek()
        await through_all(*([talk.end] if talk is not None else []), self._talk.close, self._ears.end)

    async def _listen(self) -> _Ear:
        ear = _Ear(self._calls, self._wakeup, self._me)
        await ear.open()
        return ear

    async def _begin_to_talk(self) -> _Talk:
        return _Talk(self._calls, self._me)


class _Ear:
    """What one loop hears."""

    def __init__(self, calls: Calls, wakeup: Wakeup, me: str) -> None:
        self._calls = calls
        self._wakeup = wakeup
        self._me = me.encode()
        self._tasks = Supervisor("holdfast", on_failure=lambda name, error: None)
        self._client: Any = None
        self._channel: Any = None

    async def open(self) -> None:
        """Subscribe. Raises the store's errors."""
        self._client = await self._calls.redis.get_listener()
        self._channel = self._client.pubsub()
        is_open = False
        try:
            async with self._calls.server.passing():
                await self._channel.subscribe(self._calls.places.channel)
            is_open = True
        except (*EVERYTHING, BreakerOpen):
            return  # who waits looks by himself
        finally:
            if not is_open:  # who waits may be cancelled just now, and nobody else knows of this connection
                await self.close()
        self._tasks.start(self._hear(), name="ear")

    async def hears(self) -> bool:
        """Whether it still does."""
        return len(self._tasks) > 0

    async def close(self) -> None:
        """Hear nothing more."""
        try:
            await self._tasks.stop()
            with contextlib.suppress(*EVERYTHING):
                await self._channel.aclose()
        finally:
            with contextlib.suppress(*EVERYTHING):
                await close(self._client)

    def abandon(self) -> None:
        """Give back the socket: the loop is gone."""
        abandon(self._client)

    async def _hear(self) -> None:
        with contextlib.suppress(*EVERYTHING):  # the connection was lost: the next `wait` opens another
            async for message in self._channel.listen():
                if message["type"] == "message" and message["data"] != self._me:
                    self._wakeup.advance()


class _Talk:
    """What one loop says."""

    def __init__(self, calls: Calls, me: str) -> None:
        self._calls = calls
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
        if self._calls.is_cluster:
            await self._calls.command("HINCRBY", self._calls.places.facts, "commits", 1)
        await self._calls.command("PUBLISH", self._calls.places.channel, self._me)

    def _failed(self, _name: str, error: BaseException) -> None:
        log.info("notice_unsaid", error=repr(error))  # others look by themselves now and then
