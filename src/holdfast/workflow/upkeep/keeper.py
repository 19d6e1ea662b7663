"""The part of an engine that keeps its store small: removes what retention lets go, one engine of a store at a time.

A record says when the next pass is due. Whoever finds it due writes the time of the one after it, by version, so that
one process wins; it passes, and everybody sleeps until then. Who dies in a pass is followed by the next at that time.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from holdfast import codec
from holdfast.errors import Conflict, HoldfastError, InvalidInput
from holdfast.logs import get_logger
from holdfast.store.contract.records import ABSENT, SYSTEM_TENANT, Change, Key, Put, Scope
from holdfast.store.writing.outcome import commit_surely
from holdfast.workflow.process.runtime import Runtime
from holdfast.workflow.upkeep.removing import Remover
from holdfast.workflow.upkeep.retention import KEEP_WHOLE, Removed, Retention

KEEPER = Key(SYSTEM_TENANT, "", "keeper", "retention")
"""The record whose due time is the next pass."""
RETRY_S = 60.0
"""The pause after a pass that failed, unless the next is due before."""

log = get_logger("holdfast.retention")


@runtime_checkable
class Trims(Protocol):
    """What of a store shortens journals."""

    async def trim(self, *, before_s: float, keep_per_record: int = 1) -> int: ...


class Keeper:
    """Passes over the store of `runtime` as `retention` says. `problems` is where it tells what went wrong."""

    def __init__(self, runtime: Runtime, retention: Retention, problems: dict[str, str]) -> None:
        if not isinstance(runtime.store, Trims):
            raise InvalidInput(f"engine: retention needs a store whose journals can be trimmed, saw {runtime.store!r}")
        self._runtime = runtime
        self._store = runtime.store
        self._trims: Trims = runtime.store
        self._retention = retention
        self._problems = problems
        self._due = 0.0
        self._version = ABSENT
        self.passes = 0
        self.removed = Removed()

    async def keep(self) -> None:
        """Pass for ever, whenever a pass is due."""
        while True:
            try:
                wait_s = await self._turn()
                self._problems.pop("retention", None)
            except Exception as error:  # nothing may end this task: without it the store only grows
                self._problems["retention"] = str(error) or repr(error)
                log.warning("retention failed", error=repr(error), is_ours=isinstance(error, HoldfastError))
                wait_s = min(RETRY_S, self._retention.every_s)
            await self._runtime.clock.sleep(wait_s)

    async def _turn(self) -> float:
        """Pass if a pass is due and nobody else has begun it; the seconds until the next one is due."""
        record = (await self._store.read(Scope.system(), [KEEPER]))[0]
        now = self._store.now_s()
        if record is not None and record.due is not None and record.due > now:
            return record.due - now
        self._version = ABSENT if record is None else record.version
        try:
            await self._reserve()
            await self._pass(now - self._retention.keep_for_s)
        except Conflict:
            return 0.0  # somebody else was first, or took over from one that he thought dead
        self.passes += 1
        return max(0.0, self._due - self._store.now_s())

    async def _pass(self, before_s: float) -> None:
        removed = Removed()
        async for page in Remover(self._store, before_s=before_s, change_id=self._runtime.change_id).pages():
            removed = removed.plus(page)
            if self._due - self._store.now_s() < self._retention.every_s / 2:
                await self._reserve()
        rows = await self._trims.trim(before_s=before_s, keep_per_record=self._retention.keep_rows or KEEP_WHOLE)
        removed = removed.plus(Removed(rows=rows))
        self.removed = self.removed.plus(removed)
        log.info("retention passed", runs=removed.runs, signals=removed.signals, rows=removed.rows)

    async def _reserve(self) -> None:
        """Say that the next pass is due after `every`, so that nobody begins another one before. Raises Conflict."""
        due = self._store.now_s() + self._retention.every_s
        body = codec.encode({"by": self._runtime.process_id})
        put = Put(key=KEEPER, body=body, expect=self._version, due=due)
        change = Change(change_id=self._runtime.change_id(), writes=(put,))
        self._version = (await commit_surely(self._store, Scope.system(), change)).versions[0]
        self._due = due

    def __repr__(self) -> str:
        return f"Keeper({self._retention!r}, passes={self.passes}, removed={self.removed!r})"
