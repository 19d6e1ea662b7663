"""What a test waits for when it gives a server back to a store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from holdfast.errors import BreakerOpen

T = TypeVar("T")
PATIENCE_S = 10.0


async def once_it_is_asked_again(call: Callable[[], Awaitable[T]]) -> T:
    """What `call` gives, once the store's breaker lets it pass; every other error is the test's."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except BreakerOpen:
                await asyncio.sleep(0.01)
