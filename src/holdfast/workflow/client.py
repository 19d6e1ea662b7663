"""What may be asked of runs, on behalf of one user, or of a whole tenant by an operator.

Every call is bound to a scope: another user's run does not exist here, whatever id is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from holdfast import codec
from holdfast.context import UserExecutionContext
from holdfast.errors import Conflict, Fenced, InvalidInput, InvalidTransition, NotFound, Rejected, Unavailable
from holdfast.ids import is_uuid, uuid7
from holdfast.limits import Limit
from holdfast.limits.service import PLACE_TTL_S
from holdfast.names import check_id
from holdfast.store.contract.records import ABSENT, Change, Event, Key, Position, Put, Query, Require, Scope
from holdfast.store.rows.blobs import BLOB_BYTES_MAX
from holdfast.store.wrapping.seal import CannotOpen
from holdfast.workflow.actors.crew import Crew
from holdfast.workflow.decisions import begin, rules
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.admission import Verdict, admit
from holdfast.workflow.decisions.chunks import has_input_of, with_data, with_input
from holdfast.workflow.decisions.decision import Decision
from holdfast.workflow.decisions.signals import EARLY, NEW, REFUSED, TAKEN, signal_key, signal_put
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.fairness import NORMAL, Priority, priority_of
from holdfast.workflow.model.run import RUN, Run, Signal, decode_signal, ticket_key, where_of
from holdfast.workflow.process import past
from holdfast.workflow.process.notices import leave_notice
from holdfast.workflow.process.runtime import ATTEMPTS_MAX, Runtime, Stored
from holdfast.workflow.recovery.handover import Handover
from holdfast.workflow.recovery.recovery import RecoveryManager
from holdfast.workflow.upkeep.retention import forks_key, with_fork

ANSWER_WAIT_S = 30.0
"""How long `send` waits for the verdict of an owner in another process before it says that it is still open."""


class Client:
    """The door to runs for one scope. `context` is the user's; an operator has none, sees the whole tenant, and
    cannot start runs. `by` names the caller in the audit trail."""

    def __init__(
        self,
        runtime: Runtime,
        crew: Crew,
        recovery: RecoveryManager,
        *,
        scope: Scope,
        by: str,
        context: UserExecutionContext | None,
    ) -> None:
        self.runtime = runtime
        self.scope = scope
        self.by = by
        self._crew = crew
        self._handover = Handover(runtime, crew, recovery)
        self._context = context

    # -- beginning ----------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        id: str | None = None,
        data: Any = None,
        labels: Mapping[str, str] | None = None,
        version: int | None = None,
        priority: Priority = NORMAL,
    ) -> RunHandle:
        """Start a run, durably: it exists and will be worked on once this returns.

        `id` is the user's own (the ticket's), unique for the user and workflow: the same id and input gives the run
        that exists, another input is a Conflict. Once retention removed that run, the id is free and starts a new one.
        `data`: the run's first data, else its type's defaults. `priority`: "urgent" passes what the user has in line
        already, "background" is passed by it; the shares of other users are the same. Its child runs have it too.
        """
        if self._context is None:
            raise Rejected("an operator cannot start runs; use a client of the user they are for")
        built = self._newest(workflow, version)
        run_id = self.runtime.run_id()
        ticket_id = check_id("id", id) if id is not None else run_id
        decision = begin.begin(
            built,
            run_id=run_id,
            ticket_id=ticket_id,
            tenant=self._context.tenant,
            user=self._context.user,
            data=begin.first_data(built, data),
            by=self.by,
            labels=labels or {},
            priority=priority_of(priority),
            now=self.runtime.store.now_s(),
        )
        body = codec.encode(input, what=f"input of workflow {workflow}", bytes_max=BLOB_BYTES_MAX)
        run, chunks = with_input(decision.run, body)
        decision = msgspec.structs.replace(decision, run=run)
        for _ in range(ATTEMPTS_MAX):
            try:
                return await self._create(decision, built, extra=chunks)
            except Conflict:
                if (existing := await self._existing(decision.run)) is not None:
                    return existing
        raise Unavailable(f"run {ticket_id}: it was started and removed {ATTEMPTS_MAX} times meanwhile; try again")

    async def _create(
        self, decision: Decision, built: Built, *, extra: tuple[Put, ...] = (), requires: tuple[Require, ...] = ()
    ) -> RunHandle:
        run = decision.run
        stored = await self._handover.begin(decision, extra=(begin.ticket_put(run), *extra), requires=requires)
        return RunHandle(self, stored, built)

    async def _existing(self, wanted: Run) -> RunHandle | None:
        """The run that has the ticket id already, if it was started with the same input; None if it is gone by now."""
        record = (await self.runtime.store.read(self.scope, [ticket_key(wanted)]))[0]
        if record is None:
            return None
        key = Key(wanted.tenant, wanted.user, RUN, codec.decode(record.body)["run"])
        try:
            stored = await self.runtime.load(self.scope, key)
        except NotFound:
            return None
        if not has_input_of(stored.run, wanted):
            raise Conflict(
                f"workflow {wanted.workflow}: the id {wanted.ticket_id!r} is taken by run {stored.run.id}, which was "
                "started with another input; use another id, or the same input",
                run=stored.run.id,
            )
        return self._handle(stored)

    # -- finding ------------------------------------------------------------------------------------------------

    async def get(self, ref: str, *, workflow: str | None = None) -> RunHandle:
        """The run named by its UUID, or by the user's own id. Raises NotFound; Rejected where several have the id."""
        return self._handle(await self.find(ref, workflow=workflow))

    async def find(self, ref: str, *, workflow: str | None = None) -> Stored:
        """As `get`, without the handle."""
        if is_uuid(ref):
            if self._context is not None:
                return await self.runtime.load(self.scope, Key(self._context.tenant, self._context.user, RUN, ref))
            page = await self.runtime.store.scan(self.scope, Query(kind=RUN, prefix=ref), limit=2)
        else:
            labels = {"ticket": ref} | ({"workflow": workflow} if workflow else {})
            page = await self.runtime.store.scan(self.scope, Query(kind=RUN, labels=labels), limit=2)
        mine = [record for record in page.records if self.scope.covers(record.key)]
        if not mine:
            raise NotFound(f"run {ref}: there is no such run; `holdfast ps --all` shows what there is", run=ref)
        if len(mine) > 1:
            raise Rejected(
                f"run {ref}: several runs have this id: {', '.join(record.key.id for record in mine)}; name one of them"
            )
        try:
            return Stored.of(mine[0])
        except CannotOpen:
            return await self.load(mine[0].key)  # which says which key is missing

    async def load(self, key: Key) -> Stored:
        """The run of a key as it stands."""
        return await self.runtime.load(self.scope, key)

    async def look(self, key: Key, *, least_version: int) -> Stored:
        """As `load`, for somebody who only looks."""
        return Stored.of(await self.runtime.look(self.scope, key, least_version=least_version))

    def at_hand(self, run_id: str) -> Stored | None:
        """How a run that is worked on here stands, without a read; None where only the store can tell."""
        actor = self._crew.find(run_id)
        return None if actor is None or actor.is_lost or self.runtime.is_cold else actor.stored

    async def runs(
        self,
        *,
        workflow: str | None = None,
        statuses: tuple[str, ...] = (),
        labels: Mapping[str, str] | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> tuple[list[RunHandle], str | None]:
        """A page of runs and where to go on behind it (None at the end)."""
        wanted = dict(labels or {}) | ({"workflow": workflow} if workflow else {})
        query = Query(kind=RUN, statuses=statuses, labels=wanted)
        page = await self.runtime.store.scan(self.scope, query, after=after, limit=limit)
        return [self._handle(Stored.of(record)) for record in page.records], page.next

    async def events(self, ref: str, *, after_version: int = 0) -> list[Event]:
        """The journal of a run, oldest first, behind `after_version`."""
        key = (await self.find(ref)).run.key
        return [event async for event in past.journal_of(self.runtime, self.scope, key, after_version)]

    async def follow(self, *, after: Position | None = None) -> AsyncIterator[Event]:
        """The user's stream of events from `after` on, for ever, in order."""
        if self._context is None:
            raise Rejected("a stream belongs to one user; use a client of that user")
        tick = 0
        while True:
            tick = await self.runtime.store.wait(tick)
            while page := await self.runtime.store.events(
                self.scope, stream=(self._context.tenant, self._context.user), after=after, limit=500
            ):
                for event in page:
                    yield event
                after = page[-1].position

    # -- places -------------------------------------------------------------------------------------------------

    def place(
        self, limit: Limit, *, ttl_s: float = PLACE_TTL_S, wait_max_s: float | None = None, holder: str = ""
    ) -> AbstractAsyncContextManager[None]:
        """Take a place under a limit for a block outside of runs, and a token of its rate with it:
        `async with engine.client("ana").place(LLM)`.

        `holder` names who asks across restarts: what its former self still had is given back at once. Raises
        Unavailable after `wait_max_s` seconds; InvalidInput for a `ttl_s` shorter than three heartbeats.
        """
        if self._context is None:
            raise Rejected("an operator takes no places; use a client of the user they are for")
        name = f"block:{self._context.user}/{holder}" if holder else ""
        return self.runtime.places.hold(self._context, limit, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=name)

    # -- telling ------------------------------------------------------------------------------------------------

    async def send(
        self,
        run_id: str,
        name: str,
        *,
        by: str,
        state: str,
        visit: int,
        about: str | None = None,
        data: Any = None,
        signal_id: str | None = None,
    ) -> str:
        """Send a signal meant for `visit` of `state` and, where that state says what it waits for, `about` it.

        Returns where the run went, or "" when the signal is kept because its state is yet to come. The same
        `signal_id` counts once. Raises InvalidTransition, naming the state, where the run does not take it (any more).
        """
        signal = Signal(
            id=check_id("signal id", signal_id) if signal_id else uuid7(self.runtime.clock, self.runtime.randomness),
            name=name,
            by=check_id("by", by),
            state=state,
            visit=visit,
            about=about,
            sent_at=self.runtime.store.now_s(),
        )
        if name.startswith("/"):
            raise InvalidInput(f'signal: names that begin with "/" are the engine\'s own, saw {name!r}')
        body = codec.encode(data, what=f"data of signal {name}", bytes_max=BLOB_BYTES_MAX)
        for _ in range(ATTEMPTS_MAX):
            stored = await self.find(run_id)
            signal, chunks = with_data(stored.run, signal, body)
            key = signal_key(stored.run, signal.id)
            if (await self.runtime.store.read(self.scope, [key]))[0] is not None:
                return await self._answer(stored, signal)
            try:
                verdict, reason = admit(self.runtime.built(stored.run), stored.run, signal)
                if verdict is Verdict.REFUSED:
                    raise InvalidTransition(reason, run=stored.run.id, state=where_of(stored.run), signal=name)
                if verdict is Verdict.NOW and not stored.owner:
                    return await self._judge_signal(stored, signal, chunks)
                status = NEW if verdict is Verdict.NOW else EARLY
                return await self._leave_signal(stored, signal, chunks, status)
            except (Conflict, Fenced):
                continue
        raise Unavailable(f"run {run_id}: it changed {ATTEMPTS_MAX} times while {name!r} was sent; try again")

    async def _judge_signal(self, stored: Stored, signal: Signal, chunks: tuple[Put, ...]) -> str:
        """Nobody owns the run: whoever sends decides at once, in one commit."""
        occurrence = on.Signalled(signal=signal, agent=signal.by)
        decision = self._decide(stored, occurrence)
        where = where_of(decision.run)
        taken = msgspec.structs.replace(signal, answer=where)
        put = signal_put(stored.run, taken, TAKEN, expect=ABSENT, now=self.runtime.store.now_s())
        after = await self._handover.take(stored, decision, extra=(put, *chunks))
        return where_of(after.run)

    async def _leave_signal(self, stored: Stored, signal: Signal, chunks: tuple[Put, ...], status: str) -> str:
        put = signal_put(stored.run, signal, status, expect=ABSENT, now=signal.sent_at)
        change = Change(
            change_id=self.runtime.change_id(),
            writes=(put, *chunks),
            requires=(Require(key=stored.run.key, version=stored.version, epoch=stored.epoch),),
        )
        await self.runtime.commit(self.scope, change)
        if status == EARLY:
            return ""
        await self._tell_owner(stored)
        return await self._answer(stored, signal)

    async def _tell_owner(self, stored: Stored) -> None:
        actor = self._crew.find(stored.run.id)
        if actor is not None:
            actor.poke()
        elif stored.owner and stored.owner != self.runtime.process_id:
            await leave_notice(self.runtime, stored.owner, stored.run.id, "look", epoch=stored.epoch)

    async def _answer(self, stored: Stored, signal: Signal) -> str:
        """Wait for the verdict on a signal that lies in the inbox."""
        key, tick = signal_key(stored.run, signal.id), 0
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                while True:
                    record = (await self.runtime.store.read(self.scope, [key]))[0]
                    if record is None or record.status == EARLY:
                        return ""
                    told = decode_signal(record.body)
                    if record.status == TAKEN:
                        return told.answer
                    if record.status == REFUSED:
                        raise InvalidTransition(told.answer, run=stored.run.id, signal=signal.name)
                    tick = await self.runtime.store.wait(tick)
        except TimeoutError:
            raise Unavailable(
                f"run {stored.run.id}: {signal.name!r} lies in its inbox, but its owner {stored.owner or 'nobody'} has "
                f"not judged it for {ANSWER_WAIT_S:g} s; it will be judged, look again later",
                signal_id=signal.id,
            ) from None

    async def cancel(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored:
        """End a run through its clean-up state, or in `cancelled`: committed first, then its handlers are stopped."""
        return await self.occur(run_id, on.Cancelled(agent=by or self.by, reason=reason))

    async def pause(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored:
        """Stop working on a run until it is resumed."""
        return await self.occur(run_id, on.Paused(agent=by or self.by, reason=reason))

    async def resume(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored:
        """Go on with a paused, failed or set-aside run, with a fresh budget of retries and deaths."""
        return await self.occur(run_id, on.Resumed(agent=by or self.by, reason=reason))

    async def occur(self, run_id: str, occurrence: on.Occurrence, *, expect_version: int | None = None) -> Stored:
        """Judge an occurrence on a run whoever owns it: the commit takes the run away from its owner.

        With `expect_version` a run that changed meanwhile is a Conflict instead of being judged anew.
        """
        for _ in range(ATTEMPTS_MAX):
            stored = await self.find(run_id)
            if expect_version is not None and stored.version != expect_version:
                raise Conflict(
                    f"run {stored.run.id}: expected version {expect_version}, found {stored.version}; look again"
                )
            decision = self._decide(stored, occurrence)
            try:
                return await self._handover.take(stored, decision)
            except (Conflict, Fenced):
                continue
        raise Unavailable(f"run {run_id}: it changed {ATTEMPTS_MAX} times meanwhile; try again")

    # -- the past -----------------------------------------------------------------------------------------------

    async def checkpoint(self, ref: str, name: str) -> past.Checkpoint:
        """Keep how a run stands now under `name`. The same name again replaces it."""
        return await past.keep_checkpoint(self.runtime, self.scope, await self.find(ref), check_id("checkpoint", name))

    async def checkpoints(self, ref: str) -> list[past.Checkpoint]:
        """Every version of a run that can be gone back to: those named, and one per decision; oldest first."""
        return await past.checkpoints(self.runtime, self.scope, await self.find(ref))

    async def state_at(self, ref: str, version: int) -> Run:
        """The run as it stood at `version`, rebuilt from its journal."""
        stored = await self.find(ref)
        return await past.run_at(self.runtime, self.scope, stored.run.key, version)

    async def fork(
        self, ref: str, *, version: int | None = None, checkpoint: str | None = None, id: str | None = None
    ) -> RunHandle:
        """A new run from where `ref` stood: now, at `version`, or at a named checkpoint. `ref` stays as it is."""
        run_id = uuid7(self.runtime.clock, self.runtime.randomness)
        ticket_id = check_id("id", id) if id is not None else run_id
        for _ in range(ATTEMPTS_MAX):
            stored = await self.find(ref)
            source = stored.run
            if checkpoint is not None:
                source = await past.checkpointed(self.runtime, self.scope, source, checkpoint)
            elif version is not None:
                source = await past.run_at(self.runtime, self.scope, source.key, version)
            if source.is_ended:
                raise Rejected(f"run {ref}: it has ended in {source.outcome}; fork an earlier version of it")
            built, now = self.runtime.built(source), self.runtime.store.now_s()
            decision = begin.forked(source, run_id=run_id, ticket_id=ticket_id, by=self.by, now=now, built=built)
            listed = await self._listed_fork(stored.run, run_id)
            is_there = Require(key=source.key, epoch=stored.epoch)
            try:
                return await self._create(decision, built, extra=(listed,), requires=(is_there,))
            except (Conflict, Fenced) as error:
                if error.facts.get("key") not in (source.key, listed.key):
                    raise
        raise Unavailable(f"run {ref}: it changed {ATTEMPTS_MAX} times while it was forked; try again")

    async def _listed_fork(self, run: Run, fork_id: str) -> Put:
        """The write by which a run learns of its fork."""
        forks = (await self.runtime.store.read(self.scope, [forks_key(run, run.id)]))[0]
        return with_fork(run, forks, fork_id)

    # -- shared -------------------------------------------------------------------------------------------------

    def _decide(self, stored: Stored, occurrence: on.Occurrence) -> Decision:
        built, now = self.runtime.built(stored.run), self.runtime.store.now_s()
        home = rules.at_home(built, stored.run, now=now)
        decision = rules.decide(built, home.run, occurrence, now=now)
        if decision.reason:
            raise InvalidTransition(
                f"run {stored.run.id} in {where_of(stored.run)}: {decision.reason}",
                run=stored.run.id,
                state=where_of(stored.run),
            )
        return msgspec.structs.replace(decision, rows=home.rows + decision.rows)

    def _newest(self, workflow: str, version: int | None) -> Built:
        known = [built for built in self.runtime.workflows.values() if built.name == workflow]
        wanted = [built for built in known if version is None or built.version == version]
        if not wanted:
            names = ", ".join(sorted(self.runtime.workflows)) or "none"
            raise NotFound(f"workflow {workflow}{f'@{version}' if version else ''}: not known here; known: {names}")
        return max(wanted, key=lambda built: built.version)

    def _handle(self, stored: Stored) -> RunHandle:
        return RunHandle(self, stored, self.runtime.workflows.get(stored.run.queue))

    def __repr__(self) -> str:
        return f"Client({self.scope}, by={self.by!r})"
