"""People at work: each begins a run through whichever node is up, answers what it asks, meddles, and never gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from holdfast.clock import Randomness
from holdfast.errors import CommitUnknown, Conflict, Corrupt, Fenced, HoldfastError, NotFound, Rejected, Unavailable
from holdfast.store.records import Key
from holdfast.testing.simulation.draws import Beginning
from holdfast.testing.simulation.node import Node, NodeDown
from holdfast.workflow.admission import is_active
from holdfast.workflow.client import Client
from holdfast.workflow.handle import RunHandle

T = TypeVar("T")

PATIENCE_S = 3.0
"""How long somebody waits for one answer before he asks again, perhaps elsewhere."""
LOOK_S_MAX = 1.5
EXPECTED = (Unavailable, CommitUnknown, Conflict, Fenced, Rejected, Corrupt, NodeDown, TimeoutError)
"""What a call may end with while the world is ill; anything else is a problem."""


class Person:
    """Whoever began one run, under the ticket id `ticket`. `problems`: what should not have been told to him."""

    def __init__(
        self, beginning: Beginning, ticket: str, workflow: str, input: Any, nodes: Sequence[Node], chance: Randomness
    ) -> None:
        self.user = beginning.user
        self.ticket = ticket
        self.meddling = beginning.meddling
        self.problems: list[str] = []
        self.is_done = False
        self.last = "not begun"
        self.run_id = ""
        self.key: Key | None = None
        self._version = 0
        self._at_s = beginning.at_s
        self._workflow = workflow
        self._input = input
        self._nodes = nodes
        self._chance = chance

    async def live(self) -> None:
        """Until the run has ended."""
        await asyncio.sleep(self._at_s)
        while not self.is_done:
            step = self._look if self.run_id else self._begin
            try:
                await self._ask(step)
            except EXPECTED as error:
                self.last += f" ({type(error).__name__}: {error})" if len(self.last) < 300 else ""
            except NotFound as error:
                self.problems.append(f"{self.ticket}: what was begun is gone: {error}")
                return
            except (HoldfastError, AssertionError, ValueError, TypeError, KeyError, RuntimeError) as error:
                self.problems.append(f"{self.ticket}: {error!r}")
                return
            await asyncio.sleep(self._chance.random() * LOOK_S_MAX)

    async def _ask(self, work: Callable[[Client], Awaitable[T]]) -> T:
        node = self._nodes[int(self._chance.random() * len(self._nodes))]
        async with asyncio.timeout(PATIENCE_S):
            return await node.call(lambda engine: work(engine.client(self.user)))

    async def _begin(self, client: Client) -> None:
        run = await client.start(self._workflow, self._input, id=self.ticket)
        self.run_id, self.key, self._version = run.id, run.run.key, run.version

    async def _look(self, client: Client) -> None:
        assert self.key is not None
        glimpse = await client.look(self.key, least_version=self._version)
        if glimpse.version < self._version:
            self.problems.append(f"{self.ticket}: saw version {self._version}, and then {glimpse.version}")
        run = await client.get(self.run_id)
        self._version = run.version
        self.last = f"{run!r} reason={run.run.reason!r}"
        self.is_done = run.run.is_ended
        if self.is_done:
            return
        if run.status in ("failed", "poisoned", "paused"):
            await run.resume(by=self.user)
        elif self._chance.random() < self.meddling:
            await (run.cancel if self._chance.random() < 0.2 else run.pause)(by=self.user)
        elif names := _takes(client, run):
            await run.send(names[int(self._chance.random() * len(names))], by=self.user)

    def __repr__(self) -> str:
        return f"Person({self.user}, {self.ticket}: {self.last})"


def _takes(client: Client, run: RunHandle) -> list[str]:
    """The signals that the run takes where it is."""
    built = client.runtime.built(run.run)
    return [
        name
        for name, paths in sorted(built.acceptors.items())
        if any(is_active(built, run.run, path) for path in paths)
    ]
