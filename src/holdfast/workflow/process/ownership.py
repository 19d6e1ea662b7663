"""Which processes live: each holds a lease on the store's clock, and on its host a file lock that proves its death.

A process that is found dead loses its runs to whoever claims them first. A process that merely stood still finds its
lease gone when it wakes; what it still tries to write is refused by the epoch.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.clock import Clock, Randomness
from holdfast.errors import Conflict, HoldfastError, InvalidInput, Rejected
from holdfast.ids import uuid7
from holdfast.logs import get_logger
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    ABSENT,
    SYSTEM_TENANT,
    Change,
    Claim,
    Delete,
    Key,
    Put,
    Query,
    RemovePrefix,
    Scope,
)
from holdfast.store.liveness import FileLiveness, Life
from holdfast.store.writing.outcome import commit_surely
from holdfast.workflow.model.fairness import BEGUN
from holdfast.workflow.model.run import NOTICE, PROCESS, RUN

LEASE_TTL_S = 5.0
HEARTBEAT_S = 1.0
AILING_BEAT_S = 0.25
"""The pause between two beats while the store takes none."""
FORGET_AFTER_S = 3600.0
"""How long the lease of a process that may only stand still stays on record after it lapsed: when it wakes it may take
up runs before it renews, and if it dies then, these runs must be found by its name."""
RELEASE_BATCH = 1000

log = get_logger("holdfast.ownership")


class ProcessInfo(msgspec.Struct, frozen=True):
    """Who holds a process lease. `folder`: the identity of the folder in which it proves that it lives, or "".

    `queues`: what it takes up, "name@version"; `runs_max`: so many at once, and `runs` at its last heartbeat;
    `clock_offset_s`: how far its machine's clock was ahead of the store's.
    """

    id: str
    host: str
    pid: int
    started_at: float
    folder: str = ""
    queues: tuple[str, ...] = ()
    runs_max: int = 0
    runs: int = 0
    is_draining: bool = False
    clock_offset_s: float = 0.0


class Ownership:
    """This process's lease, and its view of the others."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        randomness: Randomness,
        *,
        lease_ttl_s: float = LEASE_TTL_S,
        heartbeat_s: float = HEARTBEAT_S,
        queues: tuple[str, ...] = (),
        runs_max: int = 0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease_ttl_s = lease_ttl_s
        self._heartbeat_s = heartbeat_s
        self._info = ProcessInfo(
            uuid7(clock, randomness),
            socket.gethostname(),
            os.getpid(),
            clock.time_s(),
            queues=queues,
            runs_max=runs_max,
        )
        self._version = ABSENT
        self._numbers = itertools.count(1)
        self._renewed_at = 0.0
        folder = store.capabilities.lock_folder
        self._liveness = FileLiveness(Path(folder)) if folder is not None else None
        self._life: Life | None = None
        self.forgettable: list[str] = []
        self.silent_since: float | None = None
        self.has_peers = False
        self.count_runs: Callable[[], int] = lambda: 0

    @property
    def process_id(self) -> str:
        return self._info.id

    @property
    def is_shared(self) -> bool:
        """Whether other processes can work on this store."""
        return self._store.capabilities.many_processes

    def lease_left_s(self) -> float:
        """Seconds for which this process's lease is still good; below zero once it lapsed."""
        return self._renewed_at + self._lease_ttl_s - self._store.now_s()

    @property
    def is_pressed(self) -> bool:
        """Whether half of the lease is gone, by when it should long have been renewed: this process does not keep up,
        and what it takes up beyond that it loses soon."""
        return self.is_shared and self.lease_left_s() < self._lease_ttl_s / 2

    async def begin(self) -> None:
        """Take the lease. A store that only this process can reach needs none."""
        if not self.is_shared:
            return
        if self._liveness is not None:
            self._info = replace(self._info, folder=self._liveness.identity())
            self._life = self._liveness.hold(self.process_id)
        try:
            await self._renew()
        except Conflict as error:
            raise Rejected(
                f"process {self.process_id}: expected an id that no process has, saw one in use; a machine or process "
                "was cloned, or engines share a `randomness` that repeats: start this one anew with its own",
                process=self.process_id,
            ) from error

    async def keep(self, on_lost: Callable[[], None], on_trouble: Callable[[], None]) -> None:
        """Renew the lease for ever; `on_lost` is called when others declared this process dead, `on_trouble` when the
        store took no beat. It beats faster then: so a store that is back is known to be."""
        pause_s = self._heartbeat_s
        while True:
            await self._clock.sleep(pause_s)
            is_late = self.lease_left_s() <= 0
            pause_s = self._heartbeat_s
            try:
                if not await self._renewed() or is_late:
                    on_lost()
            except HoldfastError:
                pause_s = min(self._heartbeat_s, AILING_BEAT_S)
                on_trouble()  # tried again with the next beat; until the lease lapses nobody else minds
            except Exception as error:  # nothing may end this task: without it the others take every run away
                log.error("heartbeat failed", process=self.process_id, error=repr(error))

    @property
    def info(self) -> ProcessInfo:
        """What others read of this process, as of its last heartbeat."""
        return self._info

    def begin_draining(self) -> None:
        """This process takes up no more runs; its next heartbeat lets others see that."""
        self._info = replace(self._info, is_draining=True, queues=())

    async def dead(self) -> list[str]:
        """The ids of processes whose death is proven, or whose lease lapsed; when the last of them was heard of is
        `silent_since` then."""
        if not self.is_shared:
            return []
        page = await self._store.scan(Scope.system(), Query(kind=PROCESS), limit=1000)
        now = self._store.now_s()
        others = {record.key.id: record for record in page.records if record.key.id != self.process_id}
        lapsed_s = {name: -1.0 if record.due is None else now - record.due for name, record in others.items()}
        proven = [name for name, record in others.items() if not self._is_alive_here(record.body)]
        gone = [name for name in others if name in proven or lapsed_s[name] >= 0]
        self.silent_since = max((others[name].written_at for name in gone), default=None)
        self.forgettable = [name for name in gone if name in proven or lapsed_s[name] >= FORGET_AFTER_S]
        self.has_peers = len(others) > len(gone)
        return gone

    async def forget(self, process_id: str) -> None:
        """Remove the lease of one of `forgettable` whose runs were all taken over, and the notices left for it."""
        with contextlib.suppress(Conflict):  # somebody else may have forgotten it first
            await self._write(Delete(key=_key(process_id), expect=None))

    async def end(self) -> None:
        """Give back the runs, then the lease. Where that cannot be done, the lease lapses and others take over."""
        with contextlib.suppress(HoldfastError):
            await self._give_back_runs()
            if self.is_shared:
                await self._write(Delete(key=_key(self.process_id), expect=None))
        if self._life is not None:
            self._life.release()

    async def _give_back_runs(self) -> None:
        """An orderly end is no death: whoever takes these runs up goes on without counting one."""
        rest = Claim(kind=RUN, owner="", from_owners=(self.process_id,), limit=RELEASE_BATCH)
        for claim in (replace(rest, statuses=("running",), due_after=BEGUN), rest):
            while len(await self._store.claim(Scope.system(), claim)) == RELEASE_BATCH:
                continue

    def _is_alive_here(self, body: bytes) -> bool:
        """False only where a file lock proves a death: of a process that proved its life in our very folder. Anybody
        else's word is its lease, and so is that of a lease that cannot be read."""
        try:
            info = codec.decode(body, ProcessInfo, what="process lease")
        except InvalidInput as error:
            log.error("process lease cannot be read", error=error.message)
            return True
        if self._liveness is None or not info.folder or info.folder != self._info.folder:
            return True
        return self._liveness.is_alive(info.id)

    async def _renewed(self) -> bool:
        """Renew the lease; False where it had to be taken anew, because somebody else wrote or removed it."""
        try:
            await self._renew()
        except Conflict:
            found = (await self._store.read(Scope.system(), [_key(self.process_id)]))[0]
            self._version = ABSENT if found is None else found.version
            await self._renew()
            return False
        return True

    async def _renew(self) -> None:
        now = self._store.now_s()
        self._info = replace(
            self._info, runs=self.count_runs(), clock_offset_s=round(self._clock.time_s() - now, 3)
        )  # fmt: skip
        put = Put(
            key=_key(self.process_id),
            body=codec.encode(self._info),
            expect=self._version,
            status="alive",
            due=now + self._lease_ttl_s,
        )
        self._version = await self._write(put)
        self._renewed_at = now

    async def _write(self, write: Put | Delete) -> int:
        """Commit one write of a lease; when a lease goes, the notices left for its process go with it."""
        gone = isinstance(write, Delete)
        notices = RemovePrefix(tenant=SYSTEM_TENANT, user="", kind=NOTICE, prefix=f"{write.key.id}/")
        change_id = f"{self.process_id}:lease:{next(self._numbers)}"
        change = Change(change_id=change_id, writes=(write,), removes=(notices,) if gone else ())
        return (await commit_surely(self._store, Scope.system(), change)).versions[0]


def _key(process_id: str) -> Key:
    return Key(SYSTEM_TENANT, "", PROCESS, process_id)
