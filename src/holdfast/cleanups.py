"""What must be done when a piece of work is over: last registered first, each within its time, all of it once.

A clean-up that raises or hangs is told and costs the others nothing. Who is cancelled while he waits for the clean-up
does not cut it short.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from holdfast.errors import ContextClosed, Rejected
from holdfast.logs import get_logger
from holdfast.tasks import Supervisor

CLEANUPS_MAX = 1_000
"""Most clean-ups that one context may hold: who reaches it registers in a loop and forgets to clean up."""
LAST_WORDS_S = 0.1
"""How long a clean-up that was cancelled for taking too long may take to end before it is left behind."""

CleanUp = Callable[[], Awaitable[object] | object]
"""A coroutine function without arguments; or a plain one, which runs on the loop and must not block it."""

_log = get_logger(__name__)


class CleanupFailure(NamedTuple):
    """A clean-up that did not do its work: its name, and why, in words."""

    name: str
    reason: str


class _Entry(NamedTuple):
    name: str
    run: CleanUp
    timeout_s: float


class Cleanups:
    """The clean-ups of one context and, before them, those of its children. Any thread may register and ask."""

    __slots__ = ("_entries", "_lock", "_outcome", "_parent")

    def __init__(self, parent: Cleanups | None = None) -> None:
        self._parent = parent
        self._entries: dict[object, _Entry | Cleanups] = {}
        self._lock = threading.Lock()
        self._outcome: concurrent.futures.Future[tuple[CleanupFailure, ...]] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the clean-up has begun, here or in a context above."""
        return self._outcome is not None or (self._parent is not None and self._parent.is_closed)

    def add(self, clean_up: CleanUp, *, name: str, timeout_s: float) -> None:
        """One more, to run before those that are there. Raises ContextClosed once the clean-up has begun."""
        child = self
        while child._parent is not None:
            child._parent._hold(child, child, name)
            child = child._parent
        self._hold(object(), _Entry(name, clean_up, timeout_s), name)

    async def run(self) -> tuple[CleanupFailure, ...]:
        """Run all that is registered. The same answer for everybody who asks, however often and from wherever."""
        with self._lock:
            is_first, outcome = self._outcome is None, self._outcome or concurrent.futures.Future()
            self._outcome = outcome
        if is_first:
            tasks = Supervisor("cleanups", on_failure=_tell)
            tasks.start(self._run_all(outcome, tasks), name="all")
        return await asyncio.shield(asyncio.wrap_future(outcome))

    def __len__(self) -> int:
        return sum(len(entry) if isinstance(entry, Cleanups) else 1 for entry in self._entries.values())

    def __repr__(self) -> str:
        return f"Cleanups({len(self)}{', closed' if self.is_closed else ''})"

    def __copy__(self) -> Cleanups:
        return self

    def __deepcopy__(self, memo: object) -> Cleanups:
        return self

    def __reduce__(self) -> tuple[type[Cleanups], tuple[()]]:
        return Cleanups, ()  # clean-ups belong to their process

    def _hold(self, key: object, entry: _Entry | Cleanups, name: str) -> None:
        with self._lock:
            if self._outcome is not None:
                raise ContextClosed(
                    f"clean-up {name!r}: the context is closed, nothing can be registered with it any more; make a new"
                    " context",
                    name=name,
                )
            if key not in self._entries and len(self._entries) >= CLEANUPS_MAX:
                raise Rejected(
                    f"clean-up {name!r}: expected at most {CLEANUPS_MAX} in one context; clean up children when their"
                    " work is done",
                    name=name,
                )
            self._entries[key] = entry

    def _release(self, key: object) -> None:
        with self._lock:
            self._entries.pop(key, None)
            is_idle = not self._entries and self._outcome is None
        if is_idle and self._parent is not None:
            self._parent._release(self)

    async def _run_all(self, outcome: concurrent.futures.Future[tuple[CleanupFailure, ...]], tasks: Supervisor) -> None:
        failures: list[CleanupFailure] = []
        try:
            while (entry := self._last()) is not None:
                failures += await (entry.run() if isinstance(entry, Cleanups) else _run_one(entry, tasks))
        except asyncio.CancelledError:
            if isinstance(entry, _Entry):
                failures.append(CleanupFailure(entry.name, "the loop ended while it ran"))
            raise
        finally:  # a loop that ends takes the rest with it; nobody may wait for it for ever
            failures += [CleanupFailure(name, "the loop ended before it was its turn") for name in self._left()]
            if self._parent is not None:
                self._parent._release(self)
            outcome.set_result(tuple(failures))

    def _last(self) -> _Entry | Cleanups | None:
        with self._lock:
            return self._entries.popitem()[1] if self._entries else None

    def _left(self) -> list[str]:
        names = []
        while (entry := self._last()) is not None:
            names += entry._left() if isinstance(entry, Cleanups) else [entry.name]
        return names


async def _run_one(entry: _Entry, tasks: Supervisor) -> tuple[CleanupFailure, ...]:
    """Its failure, or nothing. Held by a task of its own, so that one that swallows its cancellation is left behind
    instead of waited for."""
    task = tasks.start(_call(entry.run), name=entry.name)
    _, running = await asyncio.wait({task}, timeout=entry.timeout_s)
    if running:
        task.cancel()
        _, stuck = await asyncio.wait({task}, timeout=LAST_WORDS_S)
        end = ", and does not end when it is cancelled: left behind" if stuck else ""
        reason = f"took longer than its {entry.timeout_s:g} s{end}"
    elif task.cancelled():
        reason = "was cancelled"
    elif (error := task.exception()) is not None:
        reason = f"{type(error).__name__}: {error}"
    else:
        return ()
    _log.warning("clean-up failed", name=entry.name, reason=reason)
    return (CleanupFailure(entry.name, reason),)


async def _call(run: CleanUp) -> None:
    answer = run()
    if inspect.isawaitable(answer):
        await answer


def _tell(name: str, error: BaseException) -> None:
    _log.debug("clean-up raised", task=name, error=repr(error))
