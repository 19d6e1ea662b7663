"""Who blocks the loop: a heartbeat in the loop, and a thread that looks whether it beats.

A loop that is blocked cannot tell so itself. While calls are under way a call-back beats in it; a thread that misses
the beat looks at the stack of the loop's thread and names the function. While nothing is under way, neither runs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.agents.stacks import Place, place_of_thread
from holdfast.clock import monotonic_s
from holdfast.errors import InvalidInput


class Blocked(NamedTuple):
    """A loop that stands still. `task`: the task that ran last; `place`: where; `for_s`: since when; `is_over`:
    whether it is beyond `block_max_s`."""

    task: asyncio.Task[Any] | None
    place: Place
    for_s: float
    is_over: bool


class Watchdog:
    """Watches one loop while somebody has entered.

    A beat that is more than `lag_max_s` late is a blocked loop: `on_blocked` is called from the thread, once, and once
    more when it lasts for `block_max_s`. A call that holds the interpreter itself (C code that does not let go of it)
    blocks the thread as well, and is only seen afterwards. A process that was stopped as a whole is no blocked loop.
    """

    def __init__(
        self,
        on_blocked: Callable[[Blocked], None],
        *,
        beat_s: float = 0.1,
        lag_max_s: float = 0.5,
        block_max_s: float = 5.0,
    ) -> None:
        if not 0 < beat_s < lag_max_s < block_max_s:
            raise InvalidInput(
                "watchdog: expected 0 < beat_s < lag_max_s < block_max_s, "
                f"saw {beat_s!r}, {lag_max_s!r}, {block_max_s!r}"
            )
        self._on_blocked = on_blocked
        self._beat_s, self._lag_max_s, self._block_max_s = beat_s, lag_max_s, block_max_s
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._inside = 0
        self._due_at: float | None = None
        self._ended_s = 0.0
        self._awake = threading.Event()
        self._is_stopped = False
        self._handle: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="holdfast-watchdog", daemon=True)
        self._thread.start()

    def enter(self) -> None:
        """Somebody is to be watched over. In the loop."""
        self._inside += 1
        if self._handle is None:
            self._beat()

    def leave(self) -> None:
        """One less. In the loop."""
        self._inside -= 1

    def blocked_s(self) -> float:
        """How long the loop has been blocked, all in all, the block that lasts now included. In the loop."""
        due_at = self._due_at
        return self._ended_s + (0.0 if due_at is None else self._late_s(due_at))

    def stop(self) -> None:
        """End the heartbeat and the thread. In the loop."""
        self._is_stopped = True
        if self._handle is not None:
            self._handle.cancel()
        self._due_at = None
        self._awake.set()
        self._thread.join(2 * self._block_max_s)

    def _late_s(self, due_at: float) -> float:
        late_s = monotonic_s() - due_at
        return late_s if late_s > self._lag_max_s else 0.0

    def _beat(self) -> None:
        if self._due_at is not None:
            self._ended_s += self._late_s(self._due_at)
        if self._is_stopped or self._inside <= 0:
            self._due_at = self._handle = None
            self._awake.clear()
            return
        self._due_at = monotonic_s() + self._beat_s
        self._handle = self._loop.call_later(self._beat_s, self._beat)
        if not self._awake.is_set():
            self._awake.set()

    def _watch(self) -> None:
        told: tuple[float, bool] | None = None
        pause = threading.Event()
        while not self._is_stopped:
            self._awake.wait()
            looked_at = monotonic_s()
            pause.wait(self._beat_s)
            due_at, now = self._due_at, monotonic_s()
            was_away = now - looked_at > self._beat_s + self._lag_max_s
            if due_at is None or now - due_at <= self._lag_max_s or was_away:
                continue
            finding = (due_at, now - due_at > self._block_max_s)
            if finding != told:
                told = finding
                self._tell(due_at, now - due_at, is_over=finding[1])

    def _tell(self, due_at: float, for_s: float, *, is_over: bool) -> None:
        task = asyncio.current_task(self._loop)
        place = place_of_thread(self._loop_thread)
        if task is None and place.is_waiting:
            return  # it waits for its sockets: nothing blocks it, the machine is late
        if self._due_at == due_at:  # or it has gone on just now, and the stack is of somebody else
            self._on_blocked(Blocked(task, place, for_s, is_over))

    def __repr__(self) -> str:
        return f"Watchdog(inside={self._inside}, beats={self._handle is not None})"
