"""A server that tests take away and give back, and what they wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from holdfast.store.fallback.store import FallbackStore
from holdfast.testing.servers import ValkeyServer

FILE = ("--appendonly", "yes", "--appendfsync", "always")
PATIENCE_S = 20.0


def fallback_url(server: ValkeyServer, namespace: str = "test") -> str:
    return f"{server.url}?namespace={namespace}&fallback=memory"


async def until(is_so: Callable[[], Any]) -> None:
    """Until something is so that happens in the background."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)


async def come_back(server: ValkeyServer, *stores: FallbackStore) -> None:
    """Start the server, and wait until the stores have merged what they hold."""
    await asyncio.to_thread(server.start)
    await merged(*stores)


async def merged(*stores: FallbackStore) -> None:
    await until(lambda: not any(store.figures().is_away for store in stores))
