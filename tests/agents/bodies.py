"""Bodies of agents as they are met: good ones, and those that hang, lie, block or will not end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast import Agent, AgentCall, AgentEvent, AgentType, UserExecutionContext, preset

ANA = UserExecutionContext(user="ana", request="r-1", thread="t-1", trace="tr-1")
BEN = UserExecutionContext(user="ben", tenant="other", request="r-2")
QUICK = AgentType(name="quick", timeout_s=0.2, grace_s=0.2, slow_s=0.05)
"""For bodies that are given up: long enough for a good one, short enough to wait for."""
PATIENT = AgentType(name="patient", timeout_s=60.0, grace_s=0.2)
LIMIT_S = 30.0


@dataclass
class Question:
    """What most of the bodies take."""

    text: str
    tags: list[str]


class Answer(msgspec.Struct):
    """What most of them give."""

    text: str
    length: int


def question(text: str = "why?") -> Question:
    """One to ask."""
    return Question(text, ["a"])


async def answer(question: Question) -> Answer:
    """Answers at once."""
    return Answer(question.text.upper(), len(question.text))


async def nap(seconds: float, call: AgentCall) -> str:
    """Sleeps, and says in whose name."""
    await asyncio.sleep(seconds)
    return call.context.user


async def fails(_: Any) -> Any:
    """Raises."""
    raise ConnectionError("the model is away")


async def hangs(_: Any) -> Any:
    """Waits for ever, and lets itself be cancelled."""
    await asyncio.Event().wait()


async def deaf(_: Any) -> Any:
    """Swallows its cancellation, again and again."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


class Deafest:
    """Swallows all that Python has, until `is_free`."""

    def __init__(self) -> None:
        self.is_free = False
        self.calls: list[AgentCall] = []

    async def run(self, _: Any, call: AgentCall) -> str:
        self.calls.append(call)
        while not self.is_free:
            try:
                await asyncio.sleep(0.01)
            except BaseException:
                continue
        return "at last"


class Stuck:
    """A body without await that returns when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.calls: list[AgentCall] = []
        self.ended = threading.Event()

    def run(self, _: Any, call: AgentCall) -> str:
        self.calls.append(call)
        self.go.wait(LIMIT_S)
        self.ended.set()
        return "at last"


def blocks(seconds: float) -> Callable[[Any], Awaitable[str]]:
    """An async body that calls something that blocks."""

    async def hold_the_loop(_: Any) -> str:
        await asyncio.sleep(0)
        a_call_that_blocks(seconds)
        return "done"

    return hold_the_loop


def a_call_that_blocks(seconds: float) -> None:
    """Stands for a driver that is not async."""
    time.sleep(seconds)


def brittle(name: str, body: Any = fails, **changes: Any) -> Agent:
    """An agent whose breaker opens at the third failure, and is probed soon after."""
    breaker = preset("agent", open_s=0.05, open_max_s=0.1, jitter=0.0, ramp_s=0.0)
    return Agent(body, name=name, type=AgentType(name="brittle", breaker=breaker, **changes))


class Seen:
    """A receiver of events."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []

    def __call__(self, event: AgentEvent) -> None:
        self.events.append(event)

    def kinds(self, agent: str | None = None) -> list[str]:
        """Their kinds in the order in which they came."""
        return [event.kind for event in self.events if agent in (None, event.agent)]


async def until(holds: Callable[[], bool], what: str) -> None:
    """Until `holds`; fails after 30 s."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not holds():  # noqa: ASYNC110  what it waits for has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {LIMIT_S:g} s: {what}") from None
