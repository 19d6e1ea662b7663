"""The one place at which users' work meets the room of agents: what runs one call of one agent, and what it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from holdfast.context import UserExecutionContext

Emit = Callable[[str, Any], None]
"""Takes an event of a call, as its name and its data, in order. Never waits."""


class Core(Protocol):
    """What runs one call: `AgentExecutionCore`, or something that a test has in its place."""

    async def execute(self, context: UserExecutionContext, agent: Any, value: Any, *, emit: Emit) -> Any:
        """The agent's output for `value`, by the context's deadline."""
        ...
