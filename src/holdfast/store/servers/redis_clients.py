"""Clients of Redis, one per running event loop: a connection never belongs to the wrong one."""

from __future__ import annotations

import importlib
from typing import Any

from holdfast.cancellation import heeding_cancellation
from holdfast.loops import LoopBound, close_socket
from holdfast.store.contract.place import without_secret

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 5.0
"""How long the server may stay silent."""


class RedisManager:
    """Gives the running loop its client: opened when it is first asked for there, asked whether it lives before it is
    used after a rest (within 0.1 s), opened anew where it does not, and closed with its loop.

    `url` as the driver takes it; `is_cluster` for a Redis Cluster. `await initialize()` connects, or raises the
    driver's error; `await get_client()` gives a `redis.asyncio` client; `await shutdown()` closes those of all loops,
    also of loops that are gone; `await ping()` says whether the server answers, and never raises.

    Example::

        redis = RedisManager("redis://localhost:6379/0")
        await (await redis.get_client()).set("greeting", "hello")
    """

    def __init__(self, url: str, *, is_cluster: bool = False, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._url = url
        self._is_cluster = is_cluster
        self._answer_timeout_s = answer_timeout_s
        self._driver: Any = importlib.import_module("redis.asyncio")  # by name: the front door must not load an extra
        self._clients: LoopBound[Any] = LoopBound(
            self._connect, close, check=_answers, abandon=abandon, name=without_secret(url)
        )

    async def initialize(self) -> None:
        """Connect, so that a wrong URL is found now. Raises the driver's error."""
        await (await self.get_client()).ping()

    async def get_client(self) -> Any:
        """The running loop's client."""
        return await self._clients.get()

    async def get_listener(self) -> Any:
        """A client for one subscription, which the caller closes: of any one node, as all of them tell all."""
        return self._driver.Redis.from_url(self._url, **self._options(socket_timeout=None))

    async def ping(self) -> bool:
        """Whether the server answers."""
        said = importlib.import_module("redis.exceptions")
        try:
            with heeding_cancellation():
                return bool(await (await self.get_client()).ping())
        except (said.RedisError, said.RedisClusterException, OSError, TimeoutError):
            return False

    async def shutdown(self) -> None:
        """Close the clients of all loops. A later `get_client` opens one anew."""
        await self._clients.close()

    def __repr__(self) -> str:
        return f"RedisManager({without_secret(self._url)!r}, clients={len(self._clients)})"

    def _options(self, **more: Any) -> dict[str, Any]:
        options = {
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": self._answer_timeout_s,
            # What was sent may have been done: whether to send it again is for the store to say.
            "retry": self._driver.retry.Retry(importlib.import_module("redis.backoff").NoBackoff(), 0),
            "protocol": 2,
        }
        return options | more

    async def _connect(self) -> Any:
        if self._is_cluster:
            return self._driver.RedisCluster.from_url(self._url, **self._options())
        return self._driver.Redis.from_url(self._url, **self._options())


async def close(client: Any) -> None:
    """Close a client's connections, in their loop. Where it is cut off, those that it has not come to are hung up."""
    try:
        await client.aclose()
    finally:
        for connection in _connections_of(client):
            writer = getattr(connection, "_writer", None)
            if writer is not None:
                writer.transport.abort()
                connection._reader = connection._writer = None


async def _answers(client: Any) -> bool:
    return bool(await client.ping())


def abandon(client: Any) -> None:
    """Close the sockets of a client whose loop is gone."""
    for connection in _connections_of(client):
        writer = getattr(connection, "_writer", None)
        close_socket(getattr(writer, "transport", None))
        connection._reader = connection._writer = None


def _connections_of(client: Any) -> list[Any]:
    """What it holds, lent out or not, which the driver does not tell."""
    pools = client.get_nodes() if hasattr(client, "get_nodes") else [client.connection_pool]
    shelves = ("_available_connections", "_in_use_connections", "_connections", "_free")
    return [connection for pool in pools for shelf in shelves for connection in getattr(pool, shelf, ())]
