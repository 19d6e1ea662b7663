"""Bugs on purpose, one for each checker: stores, and workflows, that break exactly one promise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from holdfast import RunContext, UserExecutionContext, UserStreams, Workflow, codec
from holdfast.agents.tools.ledger import KIND as TOOL_CALL
from holdfast.clock import Clock, Randomness
from holdfast.locks.records import LOCK
from holdfast.locks.rules import LockTree
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    Change,
    Claim,
    Commit,
    Delete,
    Event,
    Key,
    NewEvent,
    Page,
    Position,
    Put,
    Query,
    Record,
    Scope,
)
from holdfast.store.memory.store import MemoryStore, row_of
from holdfast.testing.simulation import World
from holdfast.testing.simulation.desk import Desk
from holdfast.testing.simulation.shapes import RETRY, TICK_S, random_workflows
from holdfast.testing.simulation.sharing import COUNTER, PURSES
from holdfast.users.stream import StreamReader
from holdfast.workflow.model.run import PROCESS, RUN, TICKET, decode_run, encode_run
from holdfast.workflow.model.schedule import SCHEDULE

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


class MovesOn(Rewriting):
    """A run that was paused, or has failed, runs again, and nobody said so."""

    def retold(self, event: NewEvent) -> NewEvent:
        return replace(event, name="changed") if event.name == "resumed" else event


class ForgetsDeltas(Rewriting):
    """Its journal does not tell how the second and every later state came to be."""

    def retold(self, event: NewEvent) -> NewEvent:
        return event if b'"full"' in event.delta else replace(event, delta=b"")


class IgnoresOwners(Rewriting):
    """Whoever comes may write, whatever he had read: who stood still writes over what came since."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return replace(write, epoch=None, expect=None if write.expect else write.expect)


class ForgetsWhoOwns(Rewriting):
    """Who comes with the version of a run may write it, though somebody else has claimed it since."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        return replace(write, epoch=None)


class TakesMemosOfAnybody(MemoryStore):
    """A memo is kept whoever owns the run by now."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        requires = tuple(replace(each, epoch=None) for each in change.requires)
        return await super().commit(scope, replace(change, requires=requires))


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


class TakesNothing(Rewriting):
    """Who pauses or cancels a run writes over its owner, and leaves it to him."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        is_taking = isinstance(write, Put) and write.key.kind == RUN and write.raise_epoch
        return replace(write, raise_epoch=False, owner=None) if is_taking and isinstance(write, Put) else write


class ClaimsQuietly(MemoryStore):
    """A run changes hands under the epoch that it had."""

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        taken = [replace(record, epoch=1) for record in await super().claim(scope, claim)]
        for record in taken:
            self._contents.put(record.key, row_of(record))
        return taken


class ForgetsEpochs(MemoryStore):
    """Now and then the epoch of a run that is claimed begins anew."""

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        taken = [replace(record, epoch=record.epoch % 4) for record in await super().claim(scope, claim)]
        for record in taken:
            self._contents.put(record.key, row_of(record))
        return taken


class GrantsToAll(Rewriting):
    """Everybody in a queue of a lock has a token."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != LOCK:
            return write
        tree = codec.decode(write.body, LockTree)
        given = tuple(replace(each, token=each.token or tree.tokens + 1 + n) for n, each in enumerate(tree.queue))
        return replace(write, body=codec.encode(replace(tree, queue=given)))


class ForgetsTokens(Rewriting):
    """A lock that is free forgets which token was the last."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != LOCK or write.status != "free":
            return write
        return replace(write, body=codec.encode(replace(codec.decode(write.body, LockTree), tokens=0)))


class LosesTheWait(Rewriting):
    """A parent does not remember which child it waits for."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != RUN:
            return write
        run = decode_run(write.body)
        return replace(
            write, body=encode_run(replace(run, leaves={k: replace(v, child=None) for k, v in run.leaves.items()}))
        )


class SkipsTurns(Rewriting):
    """The due time after one that was served is left out."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        is_turn = isinstance(write, Put) and write.key.kind == SCHEDULE and write.expect
        return replace(write, due=(write.due or 0.0) + TICK_S) if is_turn and isinstance(write, Put) else write


class HidesSchedules(MemoryStore):
    """Who looks for a schedule by its name finds none."""

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        found = await super().read(scope, keys)
        return [None if record is not None and record.key.kind == SCHEDULE else record for record in found]


class ReadsThePast(MemoryStore):
    """Now and then a user is shown his run as it was."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._shown: dict[Key, Record] = {}
        self._reads = 0

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        found = await super().read(scope, keys)
        self._reads += 1
        if len(keys) != 1 or keys[0].kind != RUN or found[0] is None or not scope.user:
            return found
        first = self._shown.setdefault(keys[0], found[0])
        return [first] if self._reads % 5 == 0 else found


class HidesRuns(MemoryStore):
    """A list of a user's runs lacks one."""

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        page = await super().scan(scope, query, after=after, limit=limit)
        return replace(page, records=page.records[1:]) if query.kind == RUN and scope.user else page


class LeavesDamage(MemoryStore):
    """What is damaged stays so."""

    async def repair(self) -> list[str]:
        return []


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


class LosesIncrements(Rewriting):
    """A counter stays where it was at first."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        is_counter = isinstance(write, Put) and write.key.id == COUNTER
        if not is_counter or not isinstance(write, Put):
            return write
        return replace(write, body=codec.encode(codec.decode(write.body) | {"value": 1}))


class AcknowledgesNothing(MemoryStore):
    """Now and then an increment is acknowledged, and not kept."""

    async def commit(self, scope: Scope, change: Change) -> Commit:
        before = await self.read(Scope.system(), [write.key for write in change.writes])
        answer = await super().commit(scope, change)
        for write, record in zip(change.writes, before, strict=True):
            if write.key.id == COUNTER and record is not None:
                self._contents.put(write.key, row_of(record))
        return answer


class TransfersHalf(Rewriting):
    """Who gets something gets one less."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.id != PURSES[1]:
            return write
        stored = codec.decode(write.body)
        return replace(write, body=codec.encode(stored | {"value": stored["value"] - 1}))


class ChangesReceipts(Rewriting):
    """The row of a call keeps another result than was given."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != TOOL_CALL or write.status != "done":
            return write
        return replace(write, body=codec.encode(codec.decode(write.body) | {"output": 4711}))


class ChangesResults(Rewriting):
    """What the last agent of a network gave is kept as something else."""

    def rewritten(self, write: Put | Delete) -> Put | Delete:
        if not isinstance(write, Put) or write.key.kind != RUN or b'"results"' not in write.body:
            return write
        run = decode_run(write.body)
        data = codec.decode(run.data)
        data["results"]["sum"] += 1
        return replace(write, body=encode_run(replace(run, data=Raw(codec.encode(data)))))


class SkipsEvents(MemoryStore):
    """Who reads a user's stream is not given every seventh event."""

    async def events(self, scope: Scope, **more: Any) -> list[Event]:
        found = await super().events(scope, **more)
        is_skipped = scope.tenant is not None and more.get("stream") is not None
        return [each for each in found if not (is_skipped and each.position.seq % 7 == 0)]


class LosesEffects(World):
    """Says that something happened which did not."""

    async def effect(self, what: str, *, key: str) -> str:
        return what if "/crew/" in what or "/order/" in what else await super().effect(what, key=key)


class RepeatsEvents(UserStreams):
    """Who comes back is given again what he had last."""

    def stream(self, context: UserExecutionContext, *, after: Position | str | None = None) -> StreamReader:
        assert isinstance(after, Position)
        return super().stream(context, after=after._replace(seq=after.seq - 1) if after.seq > 1 else after)


class ShowsOthers(UserStreams):
    """Everybody reads what bob is told."""

    def stream(self, context: UserExecutionContext, *, after: Position | str | None = None) -> StreamReader:
        return super().stream(UserExecutionContext(user="bob"), after=after)


class TellsAnotherPlace(UserStreams):
    """Says of what was published that it stands one place behind."""

    async def publish(self, context: UserExecutionContext, name: str, data: object = None) -> Position:
        position = await super().publish(context, name, data)
        return position._replace(seq=position.seq + 1)


class RenamesEvents(UserStreams):
    """Readers are told another name than what was published."""

    async def events(self, key: tuple[str, str], after: Position, limit: int) -> list[Event]:
        return [replace(each, name=f"{each.name}?") for each in await super().events(key, after, limit)]


def desk_of(streams: type[UserStreams]) -> Callable[..., Desk]:
    """A desk with these streams."""

    def furnish(world: World, store: Store, clock: Clock, chance: Randomness) -> Desk:
        desk = Desk(world, store, clock, chance)
        desk.streams = streams(store, clock=clock, randomness=chance)
        return desk

    return furnish


def one_state(handler: Callable[[World, RunContext], object], **options: Any) -> Make:
    """A workflow of one state, whose handler is this."""

    def make(world: World, chance: Randomness) -> Sequence[Workflow]:
        async def work(ctx: RunContext) -> None:
            await handler(world, ctx)  # type: ignore[misc]

        workflow = Workflow("one", data=dict, retry=RETRY)
        workflow.add_state("work", work, start=True, to="end", **options)
        workflow.final("end")
        return [workflow]

    return make


async def changing_key(world: World, ctx: RunContext) -> None:
    """The key of an effect tells which attempt it is."""

    async def happen(*, key: str) -> str:
        return await world.effect(f"{ctx.ticket_id}/work", key=f"{key}/{ctx.attempt}")

    await ctx.step("work", happen)


async def holding_a_lock(world: World, ctx: RunContext) -> None:
    """Says who has the desk, for two seconds and as often as it can: what is right, and comes late at times."""
    for _ in range(8):
        token = ctx.tokens["resource/desk"]
        await world.guarded("resource/desk", token, f"{ctx.run_id}#{ctx.visit}", attempt=ctx.attempt)
        await ctx.sleep(0.25)


async def remembering_its_token(world: World, ctx: RunContext) -> None:
    """Shows the token that its first attempt had, in whatever process it goes on."""
    token = await ctx.step("token", lambda: ctx.tokens["resource/desk"])
    await world.guarded("resource/desk", token, f"{ctx.run_id}#{ctx.visit}", attempt=ctx.attempt)
    await ctx.sleep(2.0)
    await world.guarded("resource/desk", token, f"{ctx.run_id}#{ctx.visit}", attempt=ctx.attempt)


async def making_up_a_token(world: World, ctx: RunContext) -> None:
    """Everybody shows the same one."""
    await world.guarded("resource/desk", 7, f"{ctx.run_id}#{ctx.visit}")


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
