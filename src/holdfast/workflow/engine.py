"""The everyday door: an engine works on the runs of its workflows for as long as it is entered."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from types import TracebackType
from typing import Any, cast

from holdfast.clock import Clock, Randomness, SystemClock, system_randomness
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import Fenced, InvalidInput, Rejected, Unavailable
from holdfast.locks import Lease, LockName, Mode, requests_of
from holdfast.locks.service import LEASE_TTL_S as LOCK_TTL_S
from holdfast.logs import get_logger
from holdfast.names import DEFAULT_TENANT
from holdfast.resilience.dependencies import Dependencies
from holdfast.store.contract.protocol import OpenStore, Store
from holdfast.store.contract.records import Scope
from holdfast.store.open import open_sealed, open_store
from holdfast.store.upkeep.copy import refuse_unfinished
from holdfast.store.wrapping.seal import SEAL, Codec
from holdfast.store.wrapping.sealed import SealedStore, refuse_sealed
from holdfast.tasks import Supervisor
from holdfast.workflow.board.board import open_board
from holdfast.workflow.client import Client
from holdfast.workflow.decisions.family import check_children
from holdfast.workflow.handle import RunHandle
from holdfast.workflow.inside import Inside
from holdfast.workflow.model.workflow import Workflow, by_queue
from holdfast.workflow.process.needs import check_needs, dependencies_of
from holdfast.workflow.process.ownership import HEARTBEAT_S, LEASE_TTL_S, Ownership
from holdfast.workflow.process.runtime import Runtime, knows
from holdfast.workflow.process.silence import Spread
from holdfast.workflow.process.versions import keep_charts, reconcile
from holdfast.workflow.recovery.dealing import Deal, TakenUp, UnclaimedRun
from holdfast.workflow.recovery.quarantine import Quarantine
from holdfast.workflow.recovery.recovery import Suspects
from holdfast.workflow.sync import SyncEngine
from holdfast.workflow.upkeep.retention import Retention

RUNS_MAX = 10_000
DEATHS_MAX = 3
GRACE_S = 30.0
"""How long handlers at work may go on while their process drains."""
LOCAL_USER = "local"
"""The user of calls that name none: whoever runs the program by hand."""

log = get_logger("holdfast.engine")


class Engine:
    """Runs workflows durably. `store`: a URL such as "sqlite:///runs.db" or "memory:", or an open store.

    Entering it has started recovery. `runs_max` bounds the runs worked on at once (further ones wait in line),
    `deaths_max` is how many deaths of its process without progress set a run aside. `is_cold` re-reads everything
    before each decision: slow, for tests. `works=False` gives the door alone: it reads, sends and decides, but works
    on no run. `executor` runs the sync functions of steps; without one they share the loop's default threads. A store
    that several processes share and that may forget what it acknowledged, such as Redis, is refused unless
    `durable=False` says that this is known.
    `deal`: a queue outside deals the work out. The engine then looks for none, but works on the runs that it is handed
    by `take_up`; `deal` is called on its loop with each run that it leaves for somebody to work on, and must not block.
    `dependencies`: what states need (`needs=`), if their workflows do not say so. They heal while the engine is open,
    and share their breakers with other processes on the store.
    `retention`: what nobody needs any more is removed in the background; without it the store keeps everything.
    `codec`: seals all payloads; every engine on the store, and the command line, needs one that opens them.

    Example::

        async with Engine("sqlite:///runs.db", wf) as engine:
            run = await engine.start("incident", {"text": "..."}, id="INC-42", user="ana")
            await run.reach("review")
    """

    _suspects = Suspects.APART

    def __init__(
        self,
        store: str | Store,
        *workflows: Workflow,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        runs_max: int = RUNS_MAX,
        deaths_max: int = DEATHS_MAX,
        lease_ttl_s: float = LEASE_TTL_S,
        heartbeat_s: float = HEARTBEAT_S,
        works: bool = True,
        deal: Deal | None = None,
        is_cold: bool = False,
        durable: bool = True,
        executor: Executor | None = None,
        retention: Retention | None = None,
        dependencies: Dependencies | None = None,
        codec: Codec | None = None,
    ) -> None:
        if retention is not None and not works:
            raise InvalidInput("engine: expected no retention with works=False: what works on nothing removes nothing")
        if runs_max < 1 or deaths_max < 2:
            raise InvalidInput(f"engine: expected runs_max >= 1 and deaths_max >= 2, saw {runs_max} and {deaths_max}")
        if not 0 < heartbeat_s <= lease_ttl_s / 3:
            raise InvalidInput(
                f"engine: expected heartbeat_s <= lease_ttl_s / 3, saw {heartbeat_s:g} of {lease_ttl_s:g}"
            )
        self._place = store
        self._store_clock = clock  # a server's own clock is the better one, unless somebody wants another
        self._clock = clock or SystemClock()
        self._randomness = randomness
        self._runs_max = runs_max
        self._deaths_max = deaths_max
        self._lease_ttl_s = lease_ttl_s
        self._heartbeat_s = heartbeat_s
        self._works = works
        self._deal = deal
        self._is_cold = is_cold
        self._must_be_durable = durable and works
        self._executor = executor
        self._retention = retention
        self._codec = codec
        self._dependencies = dependencies_of((workflow.dependencies for workflow in workflows), dependencies)
        self._workflows = by_queue(workflows)
        self._given = workflows
        self._exit = AsyncExitStack()
        self._inside: Inside | None = None

    async def __aenter__(self) -> Engine:
        if self._inside is not None:
            raise InvalidInput("engine: it is open already; make another one for another loop")
        try:
            store = self._open_store()
            self._check_durable(store)
            self._inside = await self._open(store)
        except BaseException:
            self._inside = None
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop working; runs stay as they are and go on wherever they are next taken up."""
        self._inside = None
        await self._exit.aclose()

    async def drain(self, *, grace_s: float = GRACE_S) -> int:
        """Close in good order: take up no more runs, let the handlers at work end for up to `grace_s` seconds, and
        give every run back in the store, so that others go on with it at once.

        A run is let go as soon as its handlers have ended and what came of them is committed. Handlers that outlast
        the grace are cancelled, and run again elsewhere but for the steps that they had done; how many runs had such.
        """
        if not 0 <= grace_s < math.inf:
            raise InvalidInput(f"drain: expected grace_s >= 0 seconds, saw {grace_s}")
        inside = self._open_inside()
        inside.runtime.is_draining = True
        inside.crew.close()
        inside.ownership.begin_draining()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await inside.crew.drained()
        cut_off = len(inside.crew)
        await self.close()
        return cut_off

    def _open_store(self) -> Store:
        """The store, opened here where a URL names it, behind the codec."""
        if not isinstance(self._place, str):
            return self._place if self._codec is None else SealedStore(cast("OpenStore", self._place), self._codec)
        if self._codec is None:
            opened: OpenStore = open_store(self._place, clock=self._store_clock)
        else:
            opened = open_sealed(self._place, self._codec, clock=self._store_clock)
        self._exit.push_async_callback(opened.close)
        return opened

    async def _open(self, store: Store) -> Inside:
        await refuse_unfinished(store)
        await refuse_sealed(store)
        tasks = Supervisor("holdfast", on_failure=self._task_failed)
        self._exit.push_async_callback(tasks.stop)
        randomness = self._randomness or system_randomness()  # drawn here: a fork before would draw the same
        ownership = Ownership(
            store,
            self._clock,
            randomness,
            lease_ttl_s=self._lease_ttl_s,
            heartbeat_s=self._heartbeat_s,
            queues=knows(self._workflows),
            runs_max=self._runs_max,
        )
        runtime = Runtime(
            store,
            self._clock,
            randomness,
            tasks,
            self._workflows,
            process_id=ownership.process_id,
            is_cold=self._is_cold,
            executor=self._executor,
            heartbeat_s=self._heartbeat_s,
            dependencies=self._dependencies,
        )
        runs_max = self._runs_max if self._works else 0
        inside = Inside(
            runtime,
            ownership,
            runs_max=runs_max,
            deaths_max=self._deaths_max,
            retention=self._retention,
            suspects=self._suspects,
            quarantine=self._quarantine(tasks) if ownership.is_shared else None,
            deal=self._deal,
        )
        ownership.count_runs = lambda: len(inside.crew)
        if self._works:
            if self._suspects is not Suspects.ONLY:  # who tries suspects may know the workflows alone
                check_needs(self._workflows.values(), self._dependencies)
            if self._dependencies is not None and not self._dependencies.is_healing:
                await self._exit.enter_async_context(self._dependencies)
            await ownership.begin()
            self._exit.push_async_callback(ownership.end)
            self._exit.push_async_callback(tasks.stop)
            check_children(self._workflows)
            if store.capabilities.is_sealed:
                await runtime.keep(SEAL, b"{}")
            await keep_charts(runtime)
            await reconcile(runtime)
            if not inside.recovery.is_for_suspects:
                await inside.scheduler.begin()
            await open_board(runtime, ownership, self._dependencies, inside.problems, self._exit)
            inside.begin()
            self._exit.callback(inside.crew.close)
        elif ownership.is_shared:
            tasks.start(inside.recovery.overhear(), name="overhear")
        return inside

    def _quarantine(self, tasks: Supervisor) -> Quarantine | None:
        """Where suspects are tried. Another process must be able to open the store and to live by the same clock; where
        work is dealt out, to whom a suspect goes is not for this engine to say."""
        if (
            not self._works
            or self._deal
            or self._suspects is Suspects.ONLY
            or not isinstance(self._place, str)
            or self._store_clock
        ):
            return None
        return Quarantine(
            self._place,
            self._given,
            tasks,
            codec=self._codec,
            deaths_max=self._deaths_max,
            lease_ttl_s=self._lease_ttl_s,
            heartbeat_s=self._heartbeat_s,
            on_ended=lambda: self._inside.recovery.nudge() if self._inside is not None else None,
        )

    def _check_durable(self, store: Store) -> None:
        can = store.capabilities
        if self._must_be_durable and can.many_processes and not can.durable:
            raise Rejected(
                f"engine: expected a durable store, saw {can.location}, whose acknowledged commits survive "
                f"{can.durability}; say durable=False to work on it all the same",
                location=can.location,
            )

    # -- doors --------------------------------------------------------------------------------------------------

    def client(
        self, user: str | None = None, *, context: UserExecutionContext | None = None, tenant: str = DEFAULT_TENANT
    ) -> Client:
        """The door of one user: by name, or by the context that a request carries."""
        given = require_context(context) if context is not None else UserExecutionContext(
            user=user or LOCAL_USER, tenant=tenant
        )  # fmt: skip
        inside = self._open_inside()
        scope = Scope.of_user(given.tenant, given.user)
        return Client(inside.runtime, inside.crew, inside.recovery, scope=scope, by=given.user, context=given)

    def operator(self, by: str, *, tenant: str = DEFAULT_TENANT) -> Client:
        """The door of an operator: all users' runs of a tenant; every act is journalled under `by`."""
        inside = self._open_inside()
        scope = Scope.of_tenant(tenant)
        return Client(inside.runtime, inside.crew, inside.recovery, scope=scope, by=by, context=None)

    async def start(
        self, workflow: str, input: Any = None, *, id: str | None = None, user: str | None = None, **options: Any
    ) -> RunHandle:
        """Start a run for `user`. See `Client.start`."""
        return await self.client(user).start(workflow, input, id=id, **options)

    async def get(self, ref: str, *, user: str | None = None) -> RunHandle:
        """The user's run by UUID or ticket id. See `Client.get`."""
        return await self.client(user).get(ref)

    async def send(
        self,
        ref: str,
        name: str,
        *,
        by: str,
        state: str,
        visit: int,
        about: str | None = None,
        data: Any = None,
        id: str | None = None,
        user: str | None = None,
    ) -> str:
        """Send a signal that says what it is meant for. See `Client.send`; a handle's `send` fills these in."""
        return await self.client(user).send(
            ref, name, by=by, state=state, visit=visit, about=about, data=data, signal_id=id
        )

    def lock(
        self,
        kind: str,
        name: str,
        *,
        mode: Mode = "exclusive",
        user: str | None = None,
        ttl_s: float = LOCK_TTL_S,
        wait_max_s: float | None = None,
        holder: str = "",
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold a lock for a block: `async with engine.lock("repository", "company/service") as lease`.

        It covers everything beneath its name, and waits for whoever holds something beneath or above it; with
        `mode="shared"` only for those who hold it exclusively. `holder` names who asks across restarts: the same one
        asking again need not wait for the lease of its former self, which is lost by that.
        Raises InvalidInput for a name without a kind, and a `ttl_s` shorter than three heartbeats; LockTimeout after
        `wait_max_s` seconds; Deadlock where the wait would have no end.
        """
        context = UserExecutionContext(user=user or LOCAL_USER)
        return self._open_inside().runtime.locks.hold_one(
            context, kind, name, mode=mode, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=holder
        )

    def locks(
        self,
        wanted: Sequence[LockName],
        *,
        user: str | None = None,
        ttl_s: float = LOCK_TTL_S,
        wait_max_s: float | None = None,
        holder: str = "",
    ) -> AbstractAsyncContextManager[tuple[Lease, ...]]:
        """Hold several locks for a block, all or none: `async with engine.locks([("repository", "a"), ("cluster", "b",
        "shared")])`. They are asked for in one commit, so that two who do so never wait for each other. The leases come
        sorted by kind and name. Otherwise as `lock`."""
        context = UserExecutionContext(user=user or LOCAL_USER)
        requests = requests_of(list(wanted))
        return self._open_inside().runtime.locks.hold(
            context, requests, ttl_s=ttl_s, wait_max_s=wait_max_s, holder=holder
        )

    async def recover_active_workflows(self) -> list[str]:
        """One recovery sweep now, beside the continuous one; the ids of the runs it took up."""
        return await self._open_inside().recovery.recover_active_workflows()

    # -- work that is dealt out ---------------------------------------------------------------------------------

    async def take_up(
        self, run_id: str, *, user: str, tenant: str = DEFAULT_TENANT, wait_max_s: float = 0.0
    ) -> TakenUp:
        """Work on this one run here if nobody who lives does, waiting at most `wait_max_s` seconds for a place.

        Gives "taken" once the claim is in the store, "owned" where somebody else has it, "idle" where there is nothing
        to do for it, "full" where there is no place here. Raises NotFound where there is no such run, or its version
        is not known here.
        """
        return await self._open_inside().dealer.take_up(run_id, user=user, tenant=tenant, wait_max_s=wait_max_s)

    def unclaimed(self, *, is_thorough: bool = False) -> AsyncIterator[UnclaimedRun]:
        """Every run of the workflows known here that is to be worked on while nobody does: it is new, its time has
        come, its owner died, or a signal was left with it. `is_thorough` looks at signals that came early, too."""
        return self._open_inside().dealer.find(is_thorough=is_thorough)

    def worked_on(self) -> list[UnclaimedRun]:
        """The runs that are worked on here: to be named to others once `drain` has given back what is left of them."""
        return self._open_inside().dealer.worked_on()

    # -- looks --------------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        """The store this engine works on."""
        return self._open_inside().runtime.store

    @property
    def dependencies(self) -> Dependencies | None:
        """What its `dependencies=` are."""
        return self._dependencies

    @property
    def inside(self) -> Inside:
        """The parts, for health, tests and the rooms above. Not for everyday use."""
        return self._open_inside()

    @property
    def recovered(self) -> Spread | None:
        """For how long the runs that were recovered here had nobody, since this engine was opened; None without any."""
        return self._open_inside().runtime.silences.spread()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing will happen before time passes or somebody sends something."""
        inside = self._open_inside()
        return inside.crew.is_quiet() and inside.recovery.is_resting

    @property
    def sync(self) -> SyncEngine:
        """This engine for sync code: `with Engine(...).sync as engine`."""
        return SyncEngine(self)

    @property
    def workflows(self) -> tuple[str, ...]:
        """The workflows known here, as "name@version"."""
        return tuple(self._workflows)

    def _open_inside(self) -> Inside:
        if self._inside is None:
            raise Unavailable("engine: it is not open; use `async with Engine(...) as engine`")
        return self._inside

    def _task_failed(self, name: str, error: BaseException) -> None:
        if isinstance(error, Fenced):
            return  # a lost run is told to its actor
        log.warning("background task failed", task=name, error=repr(error))
        if self._inside is not None:
            self._inside.problems[name.split(" ")[0]] = repr(error)

    def __repr__(self) -> str:
        state = "closed" if self._inside is None else f"{len(self._inside.crew)} active runs"
        return f"Engine({', '.join(self._workflows)}; {state})"
