"""Ends an agent in order: asks whatever clean-up it has, for a bounded time, and says what went wrong.

An agent may have `cleanup`, `aclose` or `close`, async or not, or none of them. A sync one runs in a thread: one that
hangs would else stop everybody.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import msgspec

from holdfast.tasks import Supervisor

METHODS = ("cleanup", "aclose", "close")
CLEANUP_TIMEOUT_S = 5.0
LAST_WORDS_S = 0.2
"""How long a clean-up that was cancelled may take to end."""


class AgentCleanupFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A clean-up that did not do its work: of which agent, and why. `is_stuck`: it was cancelled and still runs."""

    agent: str
    reason: str
    is_stuck: bool = False


async def clean_up(
    agent: Any, *, name: str, tasks: Supervisor, timeout_s: float = CLEANUP_TIMEOUT_S
) -> AgentCleanupFailure | None:
    """End `agent`; what went wrong, or None: it was ended, or has nothing to end. Never raises but for cancellation."""
    method = next((found for word in METHODS if callable(found := getattr(agent, word, None))), None)
    if method is None or inspect.isclass(agent):
        return None
    task = tasks.start(_run(method), name=f"clean-up of {name}")
    try:
        await asyncio.wait([task], timeout=timeout_s)
        if not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=LAST_WORDS_S)
    finally:
        task.cancel()
    if not task.done():
        return AgentCleanupFailure(agent=name, reason=f"not done within {timeout_s:g} s, and goes on", is_stuck=True)
    if task.cancelled():
        return AgentCleanupFailure(agent=name, reason=f"not done within {timeout_s:g} s")
    reason = task.result()
    return None if reason is None else AgentCleanupFailure(agent=name, reason=reason)


async def _run(method: Any) -> str | None:
    """What the clean-up raised, in words; None where it raised nothing."""
    try:
        if inspect.iscoroutinefunction(method):
            await method()
            return None
        outcome = await asyncio.get_running_loop().run_in_executor(None, method)
        if inspect.isawaitable(outcome):
            await outcome
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
