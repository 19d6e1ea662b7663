"""What the engine of users' calls counts, for all and for each user, as frozen figures."""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["finished", "failed", "timed_out", "refused", "cancelled", "stopped"]
"""How a call ended: "refused" was never begun, "cancelled" by its caller, "stopped" by an emergency clean-up."""


class ExecutionStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Calls since this process began, and those under way. `mean_s` is of those that finished; `longest_s` of all."""

    started: int = 0
    finished: int = 0
    failed: int = 0
    timed_out: int = 0
    refused: int = 0
    cancelled: int = 0
    stopped: int = 0
    running: int = 0
    waiting: int = 0
    notified: int = 0
    mean_s: float = 0.0
    longest_s: float = 0.0


class IsolationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether users stand apart: `violations` says in words what does not, empty while all is well."""

    is_isolated: bool
    violations: tuple[str, ...]
    users: int
    agents: int
    calls: int


class Tally:
    """Counts calls of one user, or of all."""

    __slots__ = ("counts", "finished_s", "longest_s", "notified", "started")

    def __init__(self) -> None:
        self.started = self.notified = 0
        self.counts: dict[Outcome, int] = {}
        self.finished_s = self.longest_s = 0.0

    def note(self, outcome: Outcome, took_s: float) -> None:
        """One call has ended."""
        self.counts[outcome] = self.counts.get(outcome, 0) + 1
        self.longest_s = max(self.longest_s, took_s)
        if outcome == "finished":
            self.finished_s += took_s

    def figures(self, *, running: int, waiting: int) -> ExecutionStatistics:
        """The counts, and what is under way."""
        finished = self.counts.get("finished", 0)
        return ExecutionStatistics(
            started=self.started,
            running=running,
            waiting=waiting,
            notified=self.notified,
            mean_s=self.finished_s / finished if finished else 0.0,
            longest_s=self.longest_s,
            **self.counts,
        )
