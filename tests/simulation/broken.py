"""Bugs on purpose, one for each checker: stores, and workflows, that break exactly one promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from holdfast import RunContext, Workflow, codec
from holdfast.clock import Randomness
from holdfast.locks.records import LOCK
from holdfast.locks.rules import LockTree
from holdfast.store.memory import MemoryStore
from holdfast.store.records import Change, Claim, Commit, Delete, Key, NewEvent, Page, Put, Query, Record, Scope
from holdfast.testing.simulation import World
from holdfast.testing.simulation.shapes import RETRY, random_workflows
from holdfast.workflow.run import PROCESS, RUN, TICKET

Make = Callable[[World, Randomness], Sequence[Workflow]]


class Rewriting(MemoryStore):
    """Changes what it is asked to write."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return write

    def retold(self, event: NewEvent) -> NewEvent:
        return event

    async def commit(self, scope: Scope, change: Change) -> Commit:
        writes = tuple(self.rewritten(write) for write in change.writes)
        events = tuple(self.retold(event) for event in change.events)
        return await super().commit(scope, replace(change, writes=writes, events=events))


class WritesTwice(MemoryStore):
    """What it is told about a run it writes once more."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        answer = await super().commit(scope, change)
        again = [replace(w, expect=None, epoch=None) for w in change.writes if isinstance(w, Put) and w.key.kind == RUN]
        if again:
            await super().commit(scope, Change(change_id=f"{change.change_id}+", writes=tuple(again)))
        return answer


class ForgetsDeltas(Rewriting):
    """Its journal does not tell how the second and every later state came to be."""

    def retold(self, event: NewEvent) -> NewEvent:
        return event if b'"full"' in event.delta else replace(event, delta=b"")


class IgnoresOwners(Rewriting):
    """Whoever comes may write, whatever he had read: who stood still writes over what came since."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return replace(write, epoch=None, expect=None if write.expect else write.expect)


class GoesBack(Rewriting):
    """Now and then a run stands where it began."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._first: dict[Key, object] = {}

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != RUN:
            return write
        body = codec.decode(write.body)
        first = self._first.setdefault(write.key, body["configuration"])
        return replace(write, body=codec.encode(body | {"configuration": first})) if write.expect == 3 else write


class SparesTokens(Rewriting):
    """A lock that changes hands keeps its token."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != LOCK:
            return write
        tree = codec.decode(write.body, LockTree)
        queue = tuple(replace(ticket, token=min(ticket.token, 1)) for ticket in tree.queue)
        return replace(write, body=codec.encode(replace(tree, queue=queue)))


class LeavesGaps(MemoryStore):
    """Now and then a number of a stream is left out."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        for stream in {(event.key.tenant, event.key.user) for event in change.events if len(event.delta) % 3 == 0}:
            self._contents.streams[stream] = self._contents.streams.get(stream, 0) + 1
        return await super().commit(scope, change)


class ReadsAcrossUsers(MemoryStore):
    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return await super().read(Scope.system(), keys)


class ScansAcrossUsers(MemoryStore):
    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        return await super().scan(Scope.system(), query, after=after, limit=limit)


class KeepsLeases(Rewriting):
    """Who ends in good order keeps his lease for a day."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if isinstance(write, Delete) and write.key.kind == PROCESS:
            return Put(key=write.key, body=b"{}", expect=None, due=self.now_s() + 86400)
        return write


class KeepsOwners(MemoryStore):
    """Nothing is given back."""

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        return [] if claim.owner == "" else await super().claim(scope, claim)


class KeepsLocks(Rewriting):
    """A lock that is given back stays with whom had it last."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        is_free = isinstance(write, Put) and write.key.kind == LOCK and write.status == "free"
        return replace(write, status="held") if is_free and isinstance(write, Put) else write


class ForgetsRuns(MemoryStore):
    """Acknowledges a new run and forgets it."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        answer = await super().commit(scope, change)
        if any(write.key.kind == TICKET for write in change.writes):
            for write in change.writes:
                self._contents._remove(write.key[:3], write.key.id)
        return answer


class RoundsDues(Rewriting):
    """Keeps times to the second, as the other store does not."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return replace(write, due=float(round(write.due))) if isinstance(write, Put) and write.due else write


def one_state(handler: Callable[[World, RunContext], object]) -> Make:
    """A workflow of one state, whose handler is this."""

    def make(world: World, chance: Randomness) -> Sequence[Workflow]:
        async def work(ctx: RunContext) -> None:
            await handler(world, ctx)  # type: ignore[misc]

        workflow = Workflow("one", data=dict, retry=RETRY)
        workflow.add_state("work", work, start=True, to="end")
        workflow.final("end")
        return [workflow]

    return make


async def changing_key(world: World, ctx: RunContext) -> None:
    """The key of an effect tells which attempt it is."""

    async def happen(*, key: str) -> str:
        return await world.effect(f"{ctx.ticket_id}/work", key=f"{key}/{ctx.attempt}")

    await ctx.step("work", happen)


async def leaving_a_task(world: World, ctx: RunContext) -> None:
    """Somebody starts what nobody ends."""
    ctx.data["task"] = asyncio.get_running_loop().create_task(asyncio.sleep(3600)).get_name()


async def waiting_for_ever(world: World, ctx: RunContext) -> None:
    """A handler that waits for what never comes."""
    await ctx.sleep(1e6)


async def turning_in_circles(world: World, ctx: RunContext) -> None:
    """A handler that never lets time pass."""
    while True:  # noqa: ASYNC110
        await asyncio.sleep(0)


everything: Make = random_workflows
