"""Scripts and commands sent to Redis, and its answers as the store's values or errors."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any, NamedTuple

import msgspec
from redis import exceptions

from holdfast.cancellation import heeding_cancellation, through_all
from holdfast.clock import monotonic_s, system_randomness
from holdfast.errors import Unavailable
from holdfast.loops import LoopBound
from holdfast.store.redis.address import Address
from holdfast.store.redis.errors import EVERYTHING, is_away, is_closed, translate, translate_write
from holdfast.store.redis.places import INCARNATION, SCHEMA, Places
from holdfast.store.servers.breaker import ServerBreaker
from holdfast.store.servers.clock import ServerTime
from holdfast.store.servers.redis_clients import ANSWER_TIMEOUT_S, RedisManager
from holdfast.store.writing.gathering import Gathering

Text = str | bytes
Place = tuple[str, str, str]
"""Kind, user and id of a tenant's record."""
TOGETHER_MAX = 50
"""Questions that one script answers: the server does nothing else meanwhile."""
READING = ("ask", "histories", "read", "select", "tail")
"""Scripts that write nothing."""
CALLS_MAX = 64
WRITERS_MAX = 8
"""Calls that one loop has under way at once, each on a connection of its own; further ones wait for their turn, where
the driver would refuse them. Writers have turns of their own: ten thousand readers must keep no heartbeat waiting."""
_encoder = msgspec.json.Encoder()


class Calls:
    """One store's way to its server. Everything here raises the store's errors."""

    def __init__(self, address: Address, time: ServerTime) -> None:
        self._address = address
        self._time = time
        self._is_checked = self._is_closed = False
        self._numbers = itertools.count(1)
        self._token = f"{system_randomness().getrandbits(64):016x}"
        self.places = Places(address.namespace)
        self.redis = RedisManager(address.url, is_cluster=address.is_cluster)
        self.server = ServerBreaker(
            "store.redis", "redis", self.redis.ping, is_away=is_away, has_parts=address.is_cluster
        )  # fmt: skip
        self._turns: LoopBound[_Turns] = LoopBound(_new_turns, _let_be, name=address.shown)
        self._rows: Gathering[Sequence[Place], list[Any]] = Gathering(self._read, at_most=TOGETHER_MAX, at_once=2)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self._address.shown

    @property
    def is_cluster(self) -> bool:
        """Whether the keys of different tenants may lie on different servers."""
        return self._address.is_cluster

    async def client(self) -> Any:
        """The running loop's client, of a store whose layout this code knows."""
        if self._is_closed:
            raise Unavailable(f"{self.shown}: the store is closed; open another")
        try:
            client = await self.redis.get_client()
            if not self._is_checked:
                await self._check_schema(client)
        except EVERYTHING as error:
            raise translate(error, self.shown) from error
        return client

    async def command(self, name: str, *words: Text | float) -> Any:
        """The answer to a command that reads, or may be sent twice."""
        async with self.server.passing(), self._turn():
            client = await self.client()
            try:
                return await client.execute_command(name, *words)
            except EVERYTHING as error:
                raise translate(error, self.shown) from error

    async def script(self, name: str, tenant: str, *words: Text, writes: bool = False, for_writer: bool = False) -> Any:
        """The answer to a script that works on one tenant. With `writes` an answer that gets lost is CommitUnknown.
        `for_writer`: it reads, and a writer waits for it."""
        keys = [self.places.prefix(tenant)]
        if writes and not self.is_cluster:
            keys.append(self.places.facts)  # lies elsewhere in a cluster: see `Notices`
        sha, text = source(name)
        async with self.server.passing(), self._turn(is_writer=writes or for_writer):
            client = await self.client()
            try:
                try:
                    return await client.evalsha(sha, len(keys), *keys, *words)
                except exceptions.NoScriptError:  # it was flushed, or this node is new
                    return await client.eval(text, len(keys), *keys, *words)
            except EVERYTHING as error:
                if is_closed(error):
                    raise self._closed(str(error)) from error
                raise (translate_write if writes else translate)(error, self.shown) from error

    async def ask(self, tenant: str, name: str, index: str, *words: Text | float) -> Any:
        """The answer to a command that reads one of a tenant's keys, unless a restore is under way."""
        return await self.script("ask", tenant, name, index, *(_word(word) for word in words))

    async def rows(self, tenant: str, places: Sequence[Place]) -> list[Any]:
        """The fields of a tenant's rows, as the script `read` gives them."""
        return await self._rows.ask(tenant, places)

    async def _read(self, tenant: str, asked: Sequence[Sequence[Place]]) -> list[list[Any]]:
        rows = [(*place, True) for places in asked for place in places]
        text = document({"rows": rows, "streams": []})
        answer = await self.timed(lambda: self.script("read", tenant, text), lambda answer: answer[0])
        found = iter(answer[2])
        return [[next(found) for _ in places] for places in asked]

    async def timed(self, ask: Callable[[], Awaitable[Any]], time_of: Callable[[Any], bytes]) -> Any:
        """What `ask` gives; the server's time in it is learned from."""
        asked_at_s = monotonic_s()
        answer = await ask()
        if text := time_of(answer):
            self._time.learn(int(text) / 1_000_000, asked_at_s=asked_at_s, answered_at_s=monotonic_s())
        return answer

    def pass_for(self) -> dict[str, str]:
        """A name for a script that writes, and the server's time until which it may: no longer than we wait for it."""
        until_us = round((self._time.server_s() + ANSWER_TIMEOUT_S) * 1_000_000)
        return {"name": f"{self._token}-{next(self._numbers)}", "until": str(until_us)}

    async def revoke(self, tenant: str, name: str) -> None:
        """Once this returns, the script of that name was carried out or never will be."""
        key = f"{self.places.prefix(tenant)}revoked:{name}"
        await self.command("SET", key, "1", "EX", round(2 * ANSWER_TIMEOUT_S))

    async def tenants(self) -> list[str]:
        """All tenants, sorted."""
        found = await self.command("SMEMBERS", self.places.tenants)
        return sorted(member.decode()[1:] for member in found)

    async def know(self, tenant: str) -> None:
        """Remember that there is such a tenant. (Each name has a mark before it, for the system's is empty.)"""
        await self.command("SADD", self.places.tenants, f"-{tenant}")

    async def incarnation(self) -> int:
        """In which incarnation a tenant begins. Raises Unavailable while a restore is under way."""
        number, restoring = await self.command("HMGET", self.places.facts, "incarnation", "restoring")
        if restoring:
            raise self._closed("restoring")
        return int(number or 0) or INCARNATION

    def forget_the_server(self) -> None:
        """Check its layout again before the next call."""
        self._is_checked = False

    async def close(self) -> None:
        """Close all clients, for good: who is late opens none that nobody would close."""
        self._is_closed = True
        await through_all(self._turns.end, self.redis.shutdown)

    @contextlib.asynccontextmanager
    async def _turn(self, *, is_writer: bool = False) -> AsyncIterator[None]:
        both = await self._turns.get()
        turns = both.writers if is_writer else both.others
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S if turns.locked() else None):
                await turns.acquire()
        except TimeoutError:
            raise Unavailable(
                f"{self.shown}: no turn came in time; the calls before this one still wait for their answers",
                place=self.shown,
            ) from None  # our own crowd, which is no outage
        try:
            with heeding_cancellation():
                yield
        finally:
            turns.release()

    def _closed(self, said: str) -> Unavailable:
        return Unavailable(
            f"{self.shown}: a restore is under way or was cut off ({said}); wait for it, or restore once more with"
            " overwrite",
            place=self.shown,
        )

    async def _check_schema(self, client: Any) -> None:
        seen = await client.execute_command("HGET", self.places.facts, "schema")
        if seen is None:  # asked first, so that a full server or a replica can still be read
            await client.execute_command("HSETNX", self.places.facts, "schema", SCHEMA)
            seen = await client.execute_command("HGET", self.places.facts, "schema")
        if (seen := int(seen)) > SCHEMA:
            raise Unavailable(
                f"{self.shown}: written by a newer holdfast: schema {seen}, this one knows {SCHEMA}; upgrade",
                expected=SCHEMA,
                seen=seen,
            )
        await self._check_memory(client)
        self._is_checked = True

    async def _check_memory(self, client: Any) -> None:
        """Raises Unavailable for a server that would throw single records away, unseen by any check, to make room."""
        try:
            told = await client.info("memory")
        except exceptions.NoPermissionError:
            return  # it is not for this user to see
        for facts in told.values() if self._address.is_cluster and "maxmemory" not in told else [told]:
            policy = str(facts.get("maxmemory_policy"))
            if facts.get("maxmemory") and policy.startswith("allkeys"):
                raise Unavailable(
                    f"{self.shown}: expected a server that keeps what it acknowledged, saw maxmemory-policy {policy};"
                    " set it to noeviction",
                    expected="noeviction",
                    seen=policy,
                )


class _Turns(NamedTuple):
    """Of one loop."""

    writers: asyncio.Semaphore
    others: asyncio.Semaphore


async def _new_turns() -> _Turns:
    return _Turns(asyncio.Semaphore(WRITERS_MAX), asyncio.Semaphore(CALLS_MAX - WRITERS_MAX))


async def _let_be(_turns: _Turns) -> None:
    """Nothing to close."""


@functools.cache
def source(name: str) -> tuple[str, str]:
    """The hash and the text of a script."""
    folder = resources.files("holdfast.store.redis") / "scripts"
    # Said to be a script, it is refused before it begins where memory is full or the server a replica, not half way.
    flags = " flags=no-writes" if name in READING else ""
    text = f"#!lua{flags}\n{(folder / 'common.lua').read_text()}{(folder / f'{name}.lua').read_text()}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), text


def document(value: object) -> bytes:
    """A parameter of a script."""
    return _encoder.encode(value)


def _word(word: Text | float) -> Text:
    return word if isinstance(word, str | bytes) else str(word)


class Texts:
    """The long parameters of a script, which its document names by their numbers. ARGV[1] is the document itself."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def add(self, text: bytes) -> int:
        """The number of `text`."""
        self.given.append(text)
        return len(self.given) + 1


async def each(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """All of `work` at once; the first error once all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
