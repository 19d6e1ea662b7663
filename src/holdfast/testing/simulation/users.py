"""People at work: each begins a run through whichever node is up, answers what it asks, meddles, and never gives up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from holdfast.clock import Randomness
from holdfast.errors import CommitUnknown, Conflict, Corrupt, Fenced, HoldfastError, NotFound, Rejected, Unavailable
from holdfast.store.contract.records import Key
from holdfast.testing.simulation.draws import Beginning
from holdfast.testing.simulation.node import Node, NodeDown
from holdfast.workflow.client import Client
from holdfast.workflow.decisions.admission import is_active
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.model.run import PARENT, STILL

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
        self._glimpsed = 0
        self._letter: tuple[str, str] | None = None
        self._letters = 0
        self._at_s = beginning.at_s
        self._workflow = workflow
        self._input = input
        self._nodes = nodes
        self._chance = chance

    async def live(self) -> None:
        """Until the run has ended."""
        await asyncio.sleep(self._at_s)
        while not self.is_done:
            steps = (self._glance, self._glance, self._look) if self.run_id else (self._begin,)
            try:
                for step in steps:
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
        """Look, and do what is to be done."""
        run = await client.get(self.run_id)
        if run.version < self._version:
            self.problems.append(f"{self.ticket}: read version {self._version}, and then {run.version}")
        self._version = run.version
        self.last = f"{run!r} reason={run.run.reason!r}"
        children = await self._children(client, run)
        self.is_done = run.run.is_ended and not children
        for child in children:
            await self._mind(child)
        if not run.run.is_ended and not await self._mind(run) and (names := _takes(client, run)):
            await self._tell(run, names)

    async def _glance(self, client: Client) -> None:
        """Look on, as a view does that is drawn again and again: never at what is older than what it showed before."""
        assert self.key is not None
        glimpse = await client.look(self.key, least_version=self._glimpsed)
        if glimpse.version < self._glimpsed:
            self.problems.append(f"{self.ticket}: saw version {self._glimpsed}, and then {glimpse.version}")
        self._glimpsed = glimpse.version

    async def _children(self, client: Client, run: RunHandle) -> list[RunHandle]:
        if not client.runtime.built(run.run).has_children:
            return []
        return (await client.runs(labels={PARENT: run.id}, statuses=("running", "waiting", *STILL)))[0]

    async def _mind(self, run: RunHandle) -> bool:
        """Let go on what stands still, or meddle; whether anything was done."""
        if run.status in STILL:
            await run.resume(by=self.user)
        elif self._chance.random() < self.meddling:
            await (run.cancel if self._chance.random() < 0.2 else run.pause)(by=self.user)
        else:
            return False
        return True

    async def _tell(self, run: RunHandle, names: list[str]) -> None:
        """Send a signal the run takes. Who does not hear what came of it asks again, and does not send another."""
        if self._letter is None:
            self._letters += 1
            self._letter = (names[int(self._chance.random() * len(names))], f"{self.ticket}.{self._letters}")
        name, letter_id = self._letter
        try:
            await run.send(name, by=self.user, id=letter_id)
        except Rejected:
            self._letter = None
            raise
        self._letter = None

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
