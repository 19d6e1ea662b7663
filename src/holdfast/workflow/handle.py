"""A handle on one run: how it stands, waiting for it, and telling it things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from holdfast import codec
from holdfast.chart import shown
from holdfast.errors import Rejected, WorkflowError
from holdfast.store.contract.records import Event, Key
from holdfast.store.rows.blobs import BlobRef
from holdfast.workflow.decisions.admission import expectation
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import Run, spec_text
from holdfast.workflow.process.large import blob_ref, read_patiently
from holdfast.workflow.process.runtime import Runtime, Stored


class Door(Protocol):
    """What a handle needs of the client that gave it."""

    @property
    def runtime(self) -> Runtime: ...

    async def load(self, key: Key) -> Stored: ...

    async def look(self, key: Key, *, least_version: int) -> Stored: ...

    def at_hand(self, run_id: str) -> Stored | None: ...

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
    ) -> str: ...

    async def cancel(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored: ...

    async def pause(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored: ...

    async def resume(self, run_id: str, *, by: str | None = None, reason: str = "") -> Stored: ...

    async def events(self, run_id: str, *, after_version: int = 0) -> list[Event]: ...


class RunHandle:
    """One run, as last read. `status`, `state`, `data` and the rest are of that moment; `refresh` reads anew."""

    def __init__(self, door: Door, stored: Stored, built: Built | None) -> None:
        self._door = door
        self._stored = stored
        self._built = built

    @property
    def id(self) -> str:
        """The run's UUID (the spec's workflow_id)."""
        return self.run.id

    @property
    def ticket_id(self) -> str:
        """The user's own id of the run."""
        return self.run.ticket_id

    @property
    def run(self) -> Run:
        """The run as last read."""
        return self._stored.run

    @property
    def version(self) -> int:
        """The version of the run's record: one higher with each decision."""
        return self._stored.version

    @property
    def status(self) -> str:
        """running, waiting, paused, failed, suspect, poisoned, done or cancelled."""
        return self.run.status

    @property
    def state(self) -> str:
        """Where the run is: the dotted path of its first active state, or of the final one it ended in."""
        return shown(next(iter(self.run.leaves), "") or self.run.outcome)

    @property
    def states(self) -> tuple[str, ...]:
        """All active states, in document order."""
        return tuple(shown(path) for path in self.run.leaves) or (self.run.outcome,)

    @property
    def outcome(self) -> str:
        """The final state of a run that has ended, by its full name ("idle~closed"); "" before."""
        return self.run.outcome

    @property
    def data(self) -> Any:
        """The run's data as its workflow's type (as plain values where this process does not know the workflow)."""
        if self._built is None:
            return codec.decode(self.run.data)
        return self._built.decode_data(bytes(self.run.data))

    async def refresh(self) -> RunHandle:
        """Read the run anew; gives itself."""
        self._stored = await self._door.load(self.run.key)
        return self

    async def look(self) -> RunHandle:
        """As `refresh`, for a view that is drawn again and again: cheap where the store has a cache.

        It may then be about a second behind (30 s at worst, see the mirror), but never goes back behind what this
        handle has seen or this process has done. Not to decide by: the signals of a handle are about what it last saw.
        """
        self._stored = await self._door.look(self.run.key, least_version=self.version)
        return self

    async def reach(self, *states: str, timeout_s: float | None = None) -> RunHandle:
        """Wait until one of `states` is active (or the run ended in it); gives itself.

        A parent's path counts for its children. Raises Rejected if the run ends, fails, or is set aside elsewhere,
        TimeoutError after `timeout_s` seconds.
        """
        async with asyncio.timeout(timeout_s):
            async for _ in self._changes():
                if any(_is_at(here, wanted) for here in self.states for wanted in states):
                    return self
                if self.run.is_ended or self.run.status in ("failed", "poisoned"):
                    raise Rejected(
                        f"run {self.id}: expected it to reach {' or '.join(states)}, but it is {self.status} in "
                        f"{self.state}" + (f": {self.run.reason}" if self.run.reason else ""),
                        run=self.id,
                        status=self.status,
                        state=self.state,
                    )
        raise AssertionError("unreachable")

    async def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the end; the run's data. Raises WorkflowError if it failed or was set aside, Rejected if it
        was cancelled."""
        async with asyncio.timeout(timeout_s):
            async for _ in self._changes():
                if self.status == "done":
                    return self.data
                if self.status == "cancelled":
                    raise Rejected(f"run {self.id}: {self.run.reason or 'it was cancelled'}", run=self.id)
                if self.status in ("failed", "poisoned"):
                    raise WorkflowError(
                        f"run {self.id} is {self.status} in {self.state}: {self.run.reason}", workflow_id=self.id
                    )
        raise AssertionError("unreachable")

    async def send(
        self, name: str, *, by: str, data: Any = None, id: str | None = None, about: str | None = None
    ) -> RunHandle:
        """Send a signal about what this handle last read: that visit, that subject. Gives itself, read anew.

        Raises InvalidTransition, naming the state, if the run does not take it any more.
        """
        expected = expectation(self._built, self.run, name) if self._built is not None else None
        await self._door.send(
            self.id,
            name,
            by=by,
            state=expected.state if expected else "",
            visit=expected.visit if expected else 0,
            about=about if about is not None else (expected.about if expected else None),
            data=data,
            signal_id=id,
        )
        return await self.refresh()

    async def cancel(self, *, by: str | None = None, reason: str = "") -> RunHandle:
        """End the run through its clean-up state, or in `cancelled`."""
        self._stored = await self._door.cancel(self.id, by=by, reason=reason)
        return self

    async def pause(self, *, by: str | None = None, reason: str = "") -> RunHandle:
        """Stop working on the run until it is resumed. Time goes on; locks are given back."""
        self._stored = await self._door.pause(self.id, by=by, reason=reason)
        return self

    async def resume(self, *, by: str | None = None, reason: str = "") -> RunHandle:
        """Go on with a paused, failed or set-aside run, with a fresh budget."""
        self._stored = await self._door.resume(self.id, by=by, reason=reason)
        return self

    async def history(self) -> list[Event]:
        """The run's whole journal, oldest first."""
        return await self._door.events(self.id)

    async def get_blob(self, ref: BlobRef | Mapping[str, Any]) -> bytes:
        """The bytes that a handler kept by `ctx.put_blob`, of which the data hold the reference."""
        return await read_patiently(self._door.runtime, self.run, blob_ref(ref))

    async def _changes(self) -> AsyncIterator[None]:
        watcher = self._door.runtime.watch(self.id)
        try:
            # Only after the watcher stands: what is at hand now may be old, but then it is told what came since.
            at_hand = self._door.at_hand(self.id)
            if at_hand is None:
                await self.refresh()
            else:
                self._stored = at_hand
            while True:
                yield
                await watcher.changed.wait()
                watcher.changed.clear()
                if watcher.latest is not None and watcher.latest.version >= self._stored.version:
                    self._stored = watcher.latest
                else:
                    await self.refresh()
        finally:
            self._door.runtime.unwatch(watcher)

    def __repr__(self) -> str:
        where = ", ".join(spec_text(path) for path in self.run.leaves) or self.run.outcome
        return f"RunHandle({self.run.workflow} {self.ticket_id}: {self.status} in {where})"


def _is_at(here: str, wanted: str) -> bool:
    return here == wanted or shown(here) == wanted or here.startswith(wanted + ".")
