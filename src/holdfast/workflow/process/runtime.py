"""What the actors of one engine share: the store, the clock, the workflows known, and how a decision is committed.

There is one way to change a run: read, decide, `commit_decision`, then act. Locks that a decision asks for or gives
back are written in the same change.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from holdfast import faults
from holdfast.clock import Clock, Randomness
from holdfast.errors import CommitUnknown, Conflict, Fenced, NotFound, Unavailable
from holdfast.ids import ChangeIds, uuid7
from holdfast.limits import PlaceChange, PlaceService
from holdfast.limits.rules import declared_once
from holdfast.locks import LockChange, LockService, Lookout
from holdfast.resilience.dependencies import Dependencies
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    ABSENT,
    SYSTEM_TENANT,
    Change,
    Claim,
    Commit,
    Delete,
    Key,
    Put,
    Record,
    RemovePrefix,
    Require,
    Scope,
)
from holdfast.store.rows.blobs import BLOB
from holdfast.store.writing.outcome import commit_surely, resolve
from holdfast.tasks import Supervisor
from holdfast.workflow.decisions.decision import Decision, events_of
from holdfast.workflow.decisions.family import Kin, kin_of
from holdfast.workflow.decisions.locking import with_locks
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.fairness import BEGUN
from holdfast.workflow.model.run import (
    CHART,
    MEMO,
    RUN,
    WORKABLE,
    Leaf,
    Run,
    decode_run,
    encode_run,
    queue_of,
    visit_prefix,
)
from holdfast.workflow.process.alarm import Alarm
from holdfast.workflow.process.needs import Needs
from holdfast.workflow.process.placing import Placer
from holdfast.workflow.process.silence import Silences

T = TypeVar("T")

ATTEMPTS_MAX = 1000
"""Bound on re-reads after lost races for one decision."""
BACKOFF_S = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
PATIENCE_S = 2.0
"""How long a caller's commit waits for a store that says it is ailing."""

current_visit: ContextVar[str] = ContextVar("current_visit", default="")
"""The visit whose handler the running code belongs to, or "": for looking on, as the lab does, and to
tell who waits for whom. It gives no rights."""


class Stored(NamedTuple):
    """A run as it stands in the store, with what a write must expect."""

    run: Run
    body: bytes
    version: int
    epoch: int
    owner: str

    @classmethod
    def of(cls, record: Record) -> Stored:
        return cls(decode_run(record.body), record.body, record.version, record.epoch, record.owner)


class Watcher:
    """Waits for commits of one run. `latest` is how it stands, None where it must be read."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.latest: Stored | None = None
        self.changed = asyncio.Event()


class Runtime:
    """The shared parts of one engine. `is_cold`: nothing is cached, everything is re-read before each decision.
    `executor` runs the sync functions of steps; None is the loop's own. `locks`: for code that holds one in a block.
    `dependencies`: what states need."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        tasks: Supervisor,
        workflows: Mapping[str, Built],
        *,
        process_id: str,
        is_cold: bool = False,
        executor: Executor | None = None,
        heartbeat_s: float = 1.0,
        dependencies: Dependencies | None = None,
    ) -> None:
        self.store = store
        self.needs = Needs(dependencies, store.now_s)
        self.clock = clock
        self.randomness = randomness
        self.tasks = tasks
        self.alarm = Alarm(clock, tasks, now_s=store.now_s)
        self.workflows = workflows
        self._takers = takers(workflows)
        self.process_id = process_id
        self.silences = Silences()
        self.is_cold = is_cold
        self.executor = executor
        self.is_draining = False
        self.lookout = Lookout(store, tasks)
        self.locks = LockService(
            store, clock, randomness, tasks,
            on_changed=self.lookout.changed, on_wait=lambda: self.on_wait(), party=current_visit.get,
            heartbeat_s=heartbeat_s,
        )  # fmt: skip
        self.places = PlaceService(
            store, clock, randomness, tasks, on_changed=self._places_changed, heartbeat_s=heartbeat_s
        )  # fmt: skip
        self.placer = Placer(store, declared_once([limit for built in workflows.values() for limit in built.limits]))
        self.on_room: Callable[[float], None] = _nobody_waits
        """Hears when some who stand in line may go on, as a commit left it. Whoever opens the engine sets it."""
        self.on_wait: Callable[[], None] = _nobody_minds
        """Hears when a run, or a block, comes to wait for a lock here. Whoever opens the engine sets it."""
        self.on_told: Callable[[tuple[Key, ...]], None] = _nobody_listens
        """Hears of runs that were begun, or left a word, beside a decision. Whoever opens the engine sets it."""
        self._watchers: dict[str, set[Watcher]] = {}
        self._kept: set[tuple[str, int, str]] = set()
        self._change_ids = ChangeIds(process_id, randomness)

    def change_id(self) -> str:
        """A new id for a change, which tells of no other."""
        return self._change_ids.new()

    def run_id(self) -> str:
        """A new id for a run."""
        return uuid7(self.clock, self.randomness)

    def built(self, run: Run) -> Built:
        """The compiled workflow of a run: its own, or the one that maps its version to a newer one.

        Raises NotFound where this process can do nothing with its version."""
        found = self._takers.get(run.queue)
        if found is None:
            raise NotFound(
                f"run {run.id}: this process does not know {run.queue}; it knows {', '.join(sorted(self.workflows))}",
                queue=run.queue,
            )
        return found

    async def load(self, scope: Scope, key: Key) -> Stored:
        """The run as it stands. Raises NotFound where there is none in `scope`."""
        record = (await self.store.read(scope, [key]))[0]
        if record is None:
            raise NotFound(f"run {key.id}: there is no such run", run=key.id)
        return Stored.of(record)

    async def reread(self, stored: Stored) -> Stored:
        """The run as it stands by now, for its owner. Raises Fenced where somebody else has it, and Conflict where the
        store shows an older one."""
        run = stored.run
        found = await self.load(Scope.of_user(run.tenant, run.user), run.key)
        if found.epoch > stored.epoch:
            raise Fenced(f"run {run.id}: expected epoch {stored.epoch}, found {found.epoch}", run=run.id)
        if found.version < stored.version:
            raise Conflict(f"run {run.id}: expected version {stored.version}, read the old {found.version}")
        return found

    async def look(self, scope: Scope, key: Key, *, least_version: int) -> Record:
        """The run's record for somebody who only looks: it may be as old as the store promises, but not below
        `least_version`. Raises NotFound where there is none in `scope`."""
        (record,) = await read_recent(self.store, scope, [key], least_versions=[least_version])
        if record is None:
            raise NotFound(f"run {key.id}: there is no such run", run=key.id)
        return record

    async def commit(self, scope: Scope, change: Change, *, is_patient: bool = False) -> Commit:
        """Commit, waiting out a store that is away; the outcome of a lost answer is looked up.

        Raises Unavailable when the store has ailed for PATIENCE_S seconds, unless `is_patient`: who holds results that
        are nowhere else has nothing better to do than to wait.
        """
        began_at = self.clock.time_s()
        is_unknown = False
        for attempt in itertools.count():
            try:
                return await self._commit_or_find(scope, change, is_unknown=is_unknown)
            except (CommitUnknown, Unavailable) as trouble:
                is_unknown = is_unknown or isinstance(trouble, CommitUnknown)
                is_over = self.clock.time_s() - began_at >= PATIENCE_S
                is_hopeless = self.store.ailment() is not None or isinstance(trouble, CommitUnknown)
                if is_over and not is_patient and is_hopeless:
                    raise
                await self.clock.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        raise AssertionError("unreachable")

    async def patiently(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives, waiting out a store that is away for as long as it is: for the engine's own errands inside
        an attempt, which must not count as the attempt's failure."""
        for attempt in itertools.count():
            try:
                return await read()
            except Unavailable:
                await self.clock.sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
        raise AssertionError("unreachable")

    async def _commit_or_find(self, scope: Scope, change: Change, *, is_unknown: bool) -> Commit:
        """Commit; `is_unknown`: unless an earlier attempt, whose outcome could not be looked up then, came through."""
        if not is_unknown:
            return await commit_surely(self.store, scope, change)
        if (done := await resolve(self.store, scope, change)) is not None:
            return done
        try:
            return await commit_surely(self.store, scope, change)
        except Conflict:
            if (done := await resolve(self.store, scope, change)) is None:
                raise
            return done

    async def keep(self, key: Key, body: bytes) -> None:
        """Make the system's record of `key` hold `body`, unless it does."""
        record = (await self.store.read(Scope.system(), [key]))[0]
        if record is not None and record.body == body:
            return
        put = Put(key=key, body=body, expect=ABSENT if record is None else record.version)
        try:
            await self.commit(Scope.system(), Change(change_id=self.change_id(), writes=(put,)))
        except Conflict:
            return  # another process stored its own at the same time: one of the two is the newest

    async def keep_chart(self, built: Built) -> None:
        """Store the chart of a workflow by name, version and hash, before any run is written that is in it."""
        names = (built.name, built.version, built.chart.hash)
        if names not in self._kept:
            await self.keep(chart_key(*names), built.chart.definition.to_json())
            self._kept.add(names)

    async def commit_decision(
        self,
        stored: Stored,
        decision: Decision,
        *,
        owner: str | None,
        guard: bool,
        raise_epoch: bool = False,
        extra: Iterable[Put | Delete] = (),
        requires: tuple[Require, ...] = (),
        blobless: Container[str] = (),
        place: float = BEGUN,
        asks: bool = False,
    ) -> tuple[Stored, Decision]:
        """Make a decision true. `owner`: as in Put; `guard`: as the owner, only while the epoch is still ours.
        `blobless`: leaves under whose visits no chunks lie, so that none have to be removed. `place`: of a run in line.
        `asks`: whether attempts that need places under limits are to begin here; else whoever takes the run up asks.

        Gives the run as it then stands, and the decision with locks that were free already granted. Raises Conflict
        or Fenced where the run moved on; nothing was written then.
        """
        run = decision.run
        await self._keep_chart_of(run)
        for _ in range(ATTEMPTS_MAX):
            async with self.placer.turn(run, stored.run.leaves, self.built(run).leaf_specs):
                locked, locks, places = await self._with_needs(stored, decision, asks)
                kin = self._kin(locked, stored)
                after = kin.run
                body = encode_run(after)
                new_owner = owner if owner is None or _keeps_owner(after) else ""
                put = Put(
                    key=after.key, body=body, expect=stored.version, epoch=stored.epoch if guard else None,
                    status=after.status, due=self._due_of(after, place if new_owner == "" else None),
                    queue=after.queue, labels=after.record_labels(), owner=new_owner, raise_epoch=raise_epoch,
                )  # fmt: skip
                change = Change(
                    change_id=self.change_id(),
                    writes=(put, *locks.puts, *places.puts, *kin.puts, *extra),
                    requires=requires,
                    removes=(*locks.removes, *places.removes, *_removals(run, locked.left, blobless)),
                    events=(*events_of(after, locked.rows, stored.body, body, stored.version + 1), *kin.events),
                )
                faults.point("before-transition")
                try:
                    commit = await self.commit(Scope.of_tenant(run.tenant), change, is_patient=guard)
                except Conflict as conflict:
                    if getattr(conflict, "facts", {}).get("key") in [put.key for put in (*locks.puts, *places.puts)]:
                        continue
                    raise
                faults.point("transition")
                now_stored = Stored(after, body, commit.versions[0], commit.epochs[0], put.owner or "")
                self._tell_all(now_stored, [lock.key for lock in locks.puts], places, kin.told)
                return now_stored, replace(locked, run=after)
        raise Unavailable(f"run {run.id}: lost {ATTEMPTS_MAX} races for its locks; try again later")

    async def _with_needs(
        self, stored: Stored, decision: Decision, asks: bool
    ) -> tuple[Decision, LockChange, PlaceChange]:
        """The decision with what it needs granted, as far as that is free: first its locks, then its places."""
        built = self.built(decision.run)
        before = {} if stored.version == ABSENT else stored.run.leaves
        locked, locks = await with_locks(self.store, decision, built.spec_of)
        placed, places = await self.placer.with_places(
            before, locked, built.leaf_specs, asks=lambda path: asks and not self.needs.is_stopped(built, path)
        )  # fmt: skip
        return placed, locks, places

    def _tell_all(self, stored: Stored, locks: Iterable[Key], places: PlaceChange, kin: tuple[Key, ...]) -> None:
        """Whom a commit concerns here: who watches the run, who waits for its locks and places, its relatives."""
        self._places_changed(places)
        for lock in locks:
            self.lookout.changed(lock)
        self.tell(stored)
        self.on_told(kin)

    def _places_changed(self, places: PlaceChange) -> None:
        for at in places.queued:
            self.on_room(at)

    async def give_back(self, stored: Stored, *, place: float = BEGUN) -> Stored:
        """Let go of a run that this process owns, undecided; the run as it stands then. One that has work stands in
        line at `place`, the next one unless said otherwise."""
        run = stored.run
        claim = Claim(
            kind=RUN,
            owner="",
            from_owners=(self.process_id,),
            ids=(run.id,),
            due_after=place if run.status in WORKABLE else None,
            limit=1,
        )
        taken = await self.store.claim(Scope.of_user(run.tenant, run.user), claim)
        return Stored.of(taken[0]) if taken else stored

    def _due_of(self, run: Run, place: float | None) -> float | None:
        """What the record of a run is due at: its place in line, the moment of its end, or what happens next."""
        if place is not None and run.status in WORKABLE:
            return place
        return self.store.now_s() if run.is_ended else run.due

    def watch(self, run_id: str) -> Watcher:
        """Be told of every commit of a run by this process; `unwatch` it in the end."""
        watcher = Watcher(run_id)
        self._watchers.setdefault(run_id, set()).add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        watching = self._watchers.get(watcher.run_id, set())
        watching.discard(watcher)
        if not watching:
            self._watchers.pop(watcher.run_id, None)

    def tell(self, stored: Stored) -> None:
        """A run was committed: whoever watches it learns how it stands."""
        for watcher in self._watchers.get(stored.run.id, ()):
            watcher.latest = stored
            watcher.changed.set()

    def look_again(self, *, but: Container[str]) -> None:
        """Other processes may have committed something: the watchers of all runs, `but` of those that are worked on
        here, look for themselves, and somebody looks for all who wait for a lock."""
        for run_id in self._watchers:
            if run_id not in but:
                self.look_at(run_id)
        self.lookout.look_again()

    def look_at(self, run_id: str) -> None:
        """Somebody else moves this run now: its watchers look for themselves."""
        for watcher in self._watchers.get(run_id, ()):
            watcher.latest = None
            watcher.changed.set()

    async def _keep_chart_of(self, run: Run) -> None:
        if run.configuration.chart_hash == (built := self.built(run)).chart.hash:
            await self.keep_chart(built)

    def _kin(self, decision: Decision, stored: Stored) -> Kin:
        """What a decision means to the run's parent and its children."""
        before = "" if stored.version == ABSENT else stored.run.status
        return kin_of(
            self.workflows,
            self.built(decision.run),
            before,
            decision,
            new_id=self.run_id,
            now=self.store.now_s(),
        )


def _nobody_listens(keys: tuple[Key, ...]) -> None:
    """Where no engine is around: a sweep finds what was written."""


def _nobody_waits(at: float) -> None:
    """Where no engine is around: a sweep finds who waits."""


def _nobody_minds() -> None:
    """Where no engine is around: nobody has places to lend."""


def _removals(run: Run, left: Iterable[tuple[str, Leaf]], blobless: Container[str]) -> Iterator[RemovePrefix]:
    """What goes with the visits that are over: their memos, and the chunks of the large ones among them."""
    for path, leaf in left:
        for kind in (MEMO,) if path in blobless else (MEMO, BLOB):
            yield RemovePrefix(tenant=run.tenant, user=run.user, kind=kind, prefix=visit_prefix(run.id, path, leaf))


def _keeps_owner(after: Run) -> bool:
    """A run stays owned while it has work here."""
    return after.status in WORKABLE and after.has_work


def chart_key(workflow: str, version: int, chart_hash: str) -> Key:
    """The key of a chart."""
    return Key(SYSTEM_TENANT, "", CHART, f"{queue_of(workflow, version)}#{chart_hash}")


def run_key(tenant: str, user: str, run_id: str) -> Key:
    """The key of a run."""
    return Key(tenant, user, RUN, run_id)


def takers(workflows: Mapping[str, Built]) -> dict[str, Built]:
    """Who takes the runs of each queue: the workflow of that version, else the newest one that maps it to its own."""
    found: dict[str, Built] = {}
    for built in sorted(workflows.values(), key=lambda built: built.version):
        found |= {queue_of(built.name, version): built for version in built.migrations}
    return found | {queue_of(built.name, built.version): built for built in workflows.values()}


def knows(workflows: Mapping[str, Built]) -> tuple[str, ...]:
    """The queues a process can claim from."""
    return tuple(takers(workflows))
