"""The thin sync facade: an engine on a private loop in a thread, for programs that are not async.

Every call hands its coroutine to that loop and waits. Handlers stay async; they run on the private loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol, TypeVar

from holdfast.errors import Unavailable
from holdfast.store.contract.records import Event
from holdfast.workflow.handle import RunHandle

T = TypeVar("T")


class AsyncEngine(Protocol):
    """What the facade needs of an engine."""

    async def __aenter__(self) -> AsyncEngine: ...

    async def close(self) -> None: ...

    async def start(
        self, workflow: str, input: Any = None, *, id: str | None = None, user: str | None = None, **options: Any
    ) -> RunHandle: ...

    async def get(self, ref: str, *, user: str | None = None) -> RunHandle: ...


class SyncEngine:
    """An engine for sync code. Example::

    with Engine("sqlite:///runs.db", wf).sync as engine:
        run = engine.start("incident", {"text": "..."}, user="ana")
        run.reach("review")
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> SyncEngine:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="holdfast-sync", daemon=True)
        self._thread.start()
        ready.wait()
        try:
            self.call(self._engine.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call(self._engine.close())
        finally:
            self._stop()

    def start(
        self, workflow: str, input: Any = None, *, id: str | None = None, user: str | None = None, **options: Any
    ) -> SyncRun:
        """Start a run; see `Engine.start`."""
        return SyncRun(self, self.call(self._engine.start(workflow, input, id=id, user=user, **options)))

    def get(self, ref: str, *, user: str | None = None) -> SyncRun:
        """The user's run by UUID or ticket id; see `Engine.get`."""
        return SyncRun(self, self.call(self._engine.get(ref, user=user)))

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the private loop: the way to everything that has no sync name here."""
        if self._loop is None:
            work.close()
            raise Unavailable("sync engine: it is not open; use `with Engine(...).sync as engine`")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(ready.set)
            self._loop.run_forever()

    def _stop(self) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop = None

    def __repr__(self) -> str:
        return f"SyncEngine({self._engine!r})"


class SyncRun:
    """A handle on one run for sync code; `handle` is the async one."""

    def __init__(self, engine: SyncEngine, handle: RunHandle) -> None:
        self._engine = engine
        self.handle = handle

    @property
    def id(self) -> str:
        """The run's UUID."""
        return self.handle.id

    @property
    def status(self) -> str:
        """The status as last read."""
        return self.handle.status

    @property
    def state(self) -> str:
        """Where the run was when last read."""
        return self.handle.state

    @property
    def data(self) -> Any:
        """The run's data as last read."""
        return self.handle.data

    def refresh(self) -> SyncRun:
        """Read the run anew; gives itself."""
        self._engine.call(self.handle.refresh())
        return self

    def look(self) -> SyncRun:
        """Read the run anew, only to look at it; see `RunHandle.look`."""
        self._engine.call(self.handle.look())
        return self

    def reach(self, *states: str, timeout_s: float | None = None) -> SyncRun:
        """Wait until one of `states` is active; see `RunHandle.reach`."""
        self._engine.call(self.handle.reach(*states, timeout_s=timeout_s))
        return self

    def result(self, *, timeout_s: float | None = None) -> Any:
        """Wait for the end; the run's data. See `RunHandle.result`."""
        return self._engine.call(self.handle.result(timeout_s=timeout_s))

    def send(self, name: str, *, by: str, data: Any = None, id: str | None = None) -> SyncRun:
        """Send a signal about what was last read; see `RunHandle.send`."""
        self._engine.call(self.handle.send(name, by=by, data=data, id=id))
        return self

    def cancel(self, *, by: str | None = None, reason: str = "") -> SyncRun:
        """End the run through its clean-up state."""
        self._engine.call(self.handle.cancel(by=by, reason=reason))
        return self

    def history(self) -> list[Event]:
        """The run's whole journal, oldest first."""
        return self._engine.call(self.handle.history())

    def __repr__(self) -> str:
        return f"SyncRun({self.handle!r})"
