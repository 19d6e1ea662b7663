"""Scripts and commands sent to Redis, and its answers as the store's values or errors."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

import msgspec
from redis import exceptions

from holdfast.clock import monotonic_s, system_randomness
from holdfast.errors import Unavailable
from holdfast.store.manager import ANSWER_TIMEOUT_S, RedisManager
from holdfast.store.redis.address import Address
from holdfast.store.redis.errors import EVERYTHING, is_closed, translate, translate_write
from holdfast.store.redis.places import SCHEMA, Places
from holdfast.store.server_time import ServerTime

Text = str | bytes
READING = ("read", "tail", "histories")
"""Scripts that write nothing."""
_encoder = msgspec.json.Encoder()


class Calls:
    """One store's way to its server. Everything here raises the store's errors."""

    def __init__(self, address: Address, time: ServerTime) -> None:
        self._address = address
        self._time = time
        self._is_checked = False
        self._numbers = itertools.count(1)
        self._token = f"{system_randomness().getrandbits(64):016x}"
        self.places = Places(address.namespace)
        self.redis = RedisManager(address.url, is_cluster=address.is_cluster)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self._address.shown

    async def client(self) -> Any:
        """The running loop's client, of a store whose layout this code knows."""
        try:
            client = await self.redis.get_client()
            if not self._is_checked:
                await self._check_schema(client)
        except EVERYTHING as error:
            raise translate(error, self.shown) from error
        return client

    async def command(self, name: str, *words: Text | float) -> Any:
        """The answer to a command that reads, or may be sent twice."""
        client = await self.client()
        try:
            return await client.execute_command(name, *words)
        except EVERYTHING as error:
            raise translate(error, self.shown) from error

    async def script(self, name: str, tenant: str, *words: Text, writes: bool = False) -> Any:
        """The answer to a script that works on one tenant. With `writes` an answer that gets lost is CommitUnknown."""
        client = await self.client()
        prefix = self.places.prefix(tenant)
        sha, text = source(name)
        try:
            try:
                return await client.evalsha(sha, 1, prefix, *words)
            except exceptions.NoScriptError:  # it was flushed, or this node is new
                return await client.eval(text, 1, prefix, *words)
        except EVERYTHING as error:
            if is_closed(error):
                raise self._closed(str(error)) from error
            raise (translate_write if writes else translate)(error, self.shown) from error

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

    async def close(self) -> None:
        """Close all clients."""
        await self.redis.shutdown()

    def _closed(self, said: str) -> Unavailable:
        return Unavailable(
            f"{self.shown}: a restore is under way or was cut off ({said}); wait for it, or restore once more with"
            " overwrite",
            place=self.shown,
        )

    async def _check_schema(self, client: Any) -> None:
        await client.execute_command("HSETNX", self.places.facts, "schema", SCHEMA)
        seen = int(await client.execute_command("HGET", self.places.facts, "schema"))
        if seen > SCHEMA:
            raise Unavailable(
                f"{self.shown}: written by a newer holdfast: schema {seen}, this one knows {SCHEMA}; upgrade",
                expected=SCHEMA,
                seen=seen,
            )
        self._is_checked = True


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
