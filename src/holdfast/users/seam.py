"""The one place at which users' work meets the room of agents: what runs one call of one agent, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class CallEvent(Protocol):
    """One thing that happened in a call, as `AgentExecutionCore` tells it. `number` counts those of the call from 1."""

    @property
    def kind(self) -> str: ...

    @property
    def agent(self) -> str: ...

    @property
    def call(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...


Emit = Callable[[Any], None]
"""Takes the `CallEvent`s of a call, in order. Never waits."""


class Core(Protocol):
    """What runs one call by its context's deadline: an `AgentExecutionCore`, or what a test has in its place."""

    async def execute(self, context: Any, agent: Any, value: Any = None, *, emit: Any = None, **more: Any) -> Any:
        """The agent's output for `value`; `emit` is an `Emit`, `more` the user's `tools` where the engine has any."""
        ...


def told_as(event: CallEvent) -> tuple[str, dict[str, Any]]:
    """The name and the data under which a call's event is in its user's stream."""
    return f"agent.{event.kind}", {
        "agent": event.agent,
        "call": event.call,
        "number": event.number,
        **event.facts,
    }


def shared_parts(agent: Any) -> Any:
    """The object that carries an agent's state: its body, where it is a definition with a body, or itself."""
    return getattr(agent, "body", agent)
