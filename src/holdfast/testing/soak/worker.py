"""One process of a soak: an engine at work, with customers that start runs and somebody who decides about them.

Run as `python -m holdfast.testing.soak.worker PLAN`. A line on stdin stops the customers, its end stops the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec

from holdfast import codec
from holdfast.clock import system_randomness
from holdfast.errors import CommitUnknown, Conflict, InvalidTransition, Rejected, Unavailable, WorkflowError
from holdfast.locks import Lease
from holdfast.logs import get_logger
from holdfast.names import DEFAULT_TENANT
from holdfast.observe.health import health_of
from holdfast.observe.rules import Status
from holdfast.store.contract.records import Change, Key, Put, Scope
from holdfast.testing.soak import shapes
from holdfast.testing.soak.ledger import Ledger
from holdfast.testing.soak.options import Plan, live_file
from holdfast.testing.soak.shapes import Shape
from holdfast.testing.soak.workflows import World, workflow_of
from holdfast.workflow.engine import Engine
from holdfast.workflow.handle import RunHandle

OPERATOR, CUSTOMER = "the soak", "a customer"
DEATHS_MAX = 1_000_000
"""Here the processes die for no fault of any run."""
PATIENCE_S = 5.0
"""How long a customer waits for a run before it starts the next one."""
MEDDLES_S = 0.5
"""How long after its start a run is cancelled or paused at most."""
WELL_WITHIN_S = 10.0
LIVE_MAX = 40
"""Runs that a process works on before its customers wait: a machine that is slower than they are must not fill its
memory with what waits in line."""
TOLD_EVERY_S = 1.0
NOTE = "note"
LOOK_S = 0.25
PAGE = 100
AWAY = (Unavailable, CommitUnknown, TimeoutError)

log = get_logger("holdfast.soak")


class Worker:
    """One process."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ledger = Ledger(Path(plan.ledger), by=plan.by)
        self._shapes = shapes.shapes(plan.seed)
        self._approvals = {
            (shape.name, stage.path) for shape in self._shapes for stage in shape.stages if stage.kind == "approval"
        }
        self._world = World(
            plan.seed,
            self._ledger,
            self._owned,
            self._write_under,
            ttl_s=max(plan.lease_ttl_s, 3 * plan.heartbeat_s),
            keys_for=_spoiled if plan.plant == "keyless" else _alone,
        )
        self._engine = self._new_engine()
        self._is_calm = asyncio.Event()
        self._is_over = asyncio.Event()

    async def work(self) -> None:
        """Until stdin ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear())
            while not await self._worked():  # noqa: ASYNC110 - the server may be away for a while
                await asyncio.sleep(LOOK_S)

    async def _worked(self) -> bool:
        """Whether the engine opened, and was worked with until the end."""
        try:
            await self._engine.__aenter__()
        except AWAY as error:
            log.warning("not open yet", error=repr(error))
            self._engine = self._new_engine()
            return self._is_over.is_set()
        try:
            async with asyncio.TaskGroup() as group:
                customers = [group.create_task(self._order(number)) for number in range(self._plan.customers)]
                judge = group.create_task(self._judge())
                live = group.create_task(self._tell_live())
                await self._is_calm.wait()
                for customer in customers:
                    customer.cancel()
                await self._is_over.wait()
                judge.cancel()
                live.cancel()
            self._ledger.add("health", about=await self._lasting_ailments())
        finally:
            await self._engine.close()
        return True

    async def _tell_live(self) -> None:
        """How many runs it works on, for whoever watches its memory."""
        file = live_file(Path(self._plan.ledger).parent, self._plan.by)
        while True:
            file.write_text(str(len(self._engine.inside.crew)), "ascii")
            await asyncio.sleep(TOLD_EVERY_S)

    def _new_engine(self) -> Engine:
        plan = self._plan
        return Engine(
            plan.url,
            *(workflow_of(shape, self._world) for shape in (*self._shapes, *shapes.others())),
            deaths_max=DEATHS_MAX,
            lease_ttl_s=plan.lease_ttl_s,
            heartbeat_s=plan.heartbeat_s,
        )

    def _owned(self, run_id: str) -> tuple[str, int]:
        inside = self._engine.inside
        actor = inside.crew.find(run_id)
        return inside.ownership.process_id, actor.stored.epoch if actor is not None else 0

    async def _write_under(self, lease: Lease, about: str) -> None:
        key = Key(DEFAULT_TENANT, "", NOTE, lease.name)
        put = Put(key=key, body=codec.encode({"about": about}), expect=None)
        change = Change(
            change_id=f"soak {about} {lease.token}", writes=(put,), requires=(lease.requirement(),)
        )  # fmt: skip
        await self._engine.store.commit(Scope.of_tenant(DEFAULT_TENANT), change)

    async def _lasting_ailments(self) -> str:
        """What is wrong for longer than it takes a process that stood still to notice that it goes on."""
        until_s = asyncio.get_running_loop().time() + WELL_WITHIN_S
        while (found := self._ailments()) and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110 - no event
            await asyncio.sleep(LOOK_S)
        return found

    def _ailments(self) -> str:
        health = health_of(self._engine)
        return "; ".join(f"{check.name}: {check.seen}" for check in health.checks if check.status is not Status.GREEN)

    # -- customers ----------------------------------------------------------------------------------------------

    async def _order(self, customer: int) -> None:
        """Start a run, wait for it for a while, start the next one."""
        number = 0
        while True:
            ticket = f"{self._plan.by}-{customer}-{number}"
            number += 1
            while len(self._engine.inside.crew) >= LIVE_MAX:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(LOOK_S)
            run = await self._started(ticket, shapes.drawn(self._shapes, self._plan.seed, ticket, "shape"))
            with contextlib.suppress(*AWAY, Rejected, WorkflowError):  # the audits say what became of it
                await self._meddle(run)
                await run.result(timeout_s=PATIENCE_S)
            await asyncio.sleep(LOOK_S * shapes.chance(ticket, "pause"))

    async def _meddle(self, run: RunHandle) -> None:
        """Cancel or pause a run in the middle of its work, as it was drawn to. Whoever judges resumes it."""
        fancy = shapes.fancy_of(self._plan.seed, run.ticket_id)
        if not fancy:
            return
        await asyncio.sleep(MEDDLES_S * shapes.chance(self._plan.seed, run.ticket_id, "when"))
        if fancy == "cancel":
            await run.cancel(by=CUSTOMER)
            self._ledger.add("cancelled", run=run.ticket_id)
        else:
            await run.pause(by=CUSTOMER)

    async def _started(self, ticket: str, shape: Shape) -> RunHandle:
        """Ask again until it is acknowledged: the same id and input is the same run."""
        seed = self._plan.seed
        client = self._engine.client(shapes.user_of(seed, ticket))
        answered = "yes" if shapes.is_answered(seed, ticket) else "no"
        self._ledger.add("asked", run=ticket)
        while True:
            try:
                run = await client.start(
                    shape.name,
                    id=ticket,
                    data={"resource": shapes.resource_of(seed, ticket)},
                    labels={shapes.ANSWERED: answered},
                )
            except AWAY as error:
                log.warning("start is tried again", run=ticket, error=repr(error))
                await asyncio.sleep(LOOK_S)
            else:
                self._ledger.add("started", run=ticket)
                return run

    # -- decisions ----------------------------------------------------------------------------------------------

    async def _judge(self) -> None:
        """Decide about whatever waits for it, whoever started it; the other processes do the same."""
        while True:
            try:
                await self._judge_all()
            except AWAY as error:
                log.warning("looks again later", error=repr(error))
            await asyncio.sleep(LOOK_S)

    async def _judge_all(self) -> None:
        client = self._engine.operator(OPERATOR)
        after: str | None = None
        while True:
            page, after = await client.runs(
                statuses=("waiting",), labels={shapes.ANSWERED: "yes"}, after=after, limit=PAGE
            )
            for run in page:
                await self._judge_one(run)
            if after is None:
                break
        page, _ = await client.runs(statuses=("paused",), limit=PAGE)
        for run in page:
            with contextlib.suppress(Rejected, Conflict):  # another process was quicker
                await run.resume(by=OPERATOR)

    async def _judge_one(self, run: RunHandle) -> None:
        for path, visit in [(path, leaf.visit) for path, leaf in run.run.leaves.items()]:
            if (run.run.workflow, path) not in self._approvals:
                continue
            verdict = shapes.verdict_on(self._plan.seed, run.ticket_id, path, visit)
            about = f"{path}#{visit}/{verdict}"
            self._ledger.add("judging", run=run.ticket_id, about=about)
            try:
                if verdict == shapes.CANCEL:
                    await run.cancel(by=OPERATOR)
                else:
                    await run.send(verdict, by=OPERATOR, id=about)
            except (InvalidTransition, Conflict):
                continue  # another process was quicker
            self._ledger.add("judged", run=run.ticket_id, about=about)

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.readline()
        self._is_calm.set()
        while await reader.readline():
            continue
        self._is_over.set()
        transport.close()


def _alone(key: str) -> tuple[str, ...]:
    return (key,)


def _spoiled(key: str) -> tuple[str, ...]:
    """A planted fault: an effect that is presented again, and under another key."""
    return key, f"{key}/{system_randomness().getrandbits(64):x}"


if __name__ == "__main__":
    asyncio.run(Worker(msgspec.json.decode(sys.argv[1], type=Plan)).work())
