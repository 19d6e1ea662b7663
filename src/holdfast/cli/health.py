"""What `doctor` makes of a store: the facts that it looks at, and what of them needs somebody. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast.cli.rules import lasting
from holdfast.cli.timetable import is_overdue
from holdfast.observe.rules import Check, Health, Status, worst

STALLED_AFTER_S = 10.0
"""A run that could go on and that nobody took up for so long needs somebody."""
CLOCK_OFFSET_MAX_S = 1.0
LISTED_MAX = 5
"""How many runs a finding names."""


class ProcessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A process with a lease. `lease_left_s` is negative once it lapsed; `is_alive` is what its host can prove.

    `queues`: the workflows it takes up; `runs` of at most `runs_max` were at work there at its last heartbeat;
    `clock_offset_s`: how far its machine's clock is ahead of the store's.
    """

    id: str
    host: str
    pid: int
    started_at: str
    lease_left_s: float
    is_alive: bool
    heartbeat_at: str = ""
    queues: tuple[str, ...] = ()
    runs: int = 0
    runs_max: int = 0
    is_draining: bool = False
    clock_offset_s: float = 0.0

    @property
    def doing(self) -> str:
        """In a word: working, draining, or dead."""
        return "dead" if not self.is_alive else "draining" if self.is_draining else "working"


class TicketLine(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lock or waits for it. `until`: when that lapses unless it is renewed; None for a run's, which lasts
    as long as its visit. `token` is 0 for who waits, `behind` then names the holders that must go first."""

    holder: str
    by: str
    mode: str
    since: str
    until: str | None
    token: int
    behind: tuple[str, ...]


class LockLine(msgspec.Struct, frozen=True, kw_only=True):
    """A lock, "kind/name", that somebody holds or waits for, both in the order of the line."""

    lock: str
    holders: tuple[TicketLine, ...]
    waiters: tuple[TicketLine, ...]


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run as `doctor` sees it. `idle_s`: seconds since it could go on and nobody took it up; None: somebody did."""

    id: str
    ticket: str
    workflow: str
    status: str
    reason: str
    idle_s: float | None = None


class BackupFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The last good backup, if there was one, what failed since, and the schedule, if there is one."""

    at: str | None = None
    age_s: float | None = None
    took_s: float = 0.0
    place: str = ""
    was_drilled: bool = False
    every_s: float | None = None
    failure: str = ""
    failure_age_s: float | None = None


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What `doctor` judges. `counts`: runs by status; `is_whole`: False where there were more than were looked at;
    `copy_of`: the source, where the store is an unfinished copy."""

    location: str
    durability: str
    ailment: str | None
    clock_offset_s: float
    processes: tuple[ProcessFacts, ...]
    locks: tuple[LockLine, ...]
    runs: tuple[RunFacts, ...]
    counts: dict[str, int]
    is_whole: bool
    backup: BackupFacts
    copy_of: str = ""


def diagnose(facts: StoreFacts) -> Health:
    """What is well, what is not, and what to do about it."""
    checks = (
        _store(facts), *_copy(facts), _clock(facts), _processes(facts), _stalled(facts), *_stuck(facts), _locks(facts),
        _backup(facts),
    )  # fmt: skip
    return Health(status=worst([check.status for check in checks]), checks=checks)


def _store(facts: StoreFacts) -> Check:
    if facts.ailment is not None and "mode=ro" not in facts.ailment:
        return Check(name="store", status=Status.RED, seen=facts.ailment, advice="mend what it names, then look again")
    seen = f"{facts.location}: reachable, its schema is known; commits survive {facts.durability}"
    return Check(name="store", status=Status.GREEN, seen=seen)


def _copy(facts: StoreFacts) -> list[Check]:
    if not facts.copy_of:
        return []
    advice = "finish it by the same `holdfast migrate` again; no engine opens it before"
    return [Check(name="copy", status=Status.RED, seen=f"half a copy of {facts.copy_of}", advice=advice)]


def _clock(facts: StoreFacts) -> Check:
    seen = f"{facts.clock_offset_s:+.1f} s between the store's newest word and this machine's time"
    if facts.clock_offset_s > CLOCK_OFFSET_MAX_S:
        advice = "a process wrote with a clock ahead of this one: synchronise the machines' clocks"
        return Check(name="clock", status=Status.DEGRADED, seen=seen, advice=advice)
    return Check(name="clock", status=Status.GREEN, seen="nothing was written in this machine's future")


def _processes(facts: StoreFacts) -> Check:
    alive = [process for process in facts.processes if process.is_alive]
    dead = [process for process in facts.processes if not process.is_alive]
    seen = f"{len(alive)} alive" + (f", {len(dead)} dead" if dead else "")
    is_work_due = any(facts.counts.get(status) for status in ("running", "waiting", "suspect"))
    if not alive and is_work_due:
        advice = "no engine works on this store: start one with the workflows of these runs"
        return Check(name="processes", status=Status.RED, seen=seen, advice=advice)
    if dead and not alive:
        return Check(name="processes", status=Status.GREEN, seen=f"{seen}; no run waits for any")
    if dead:
        names = ", ".join(f"{process.host}:{process.pid}" for process in dead[:LISTED_MAX])
        advice = f"the others take their runs over by themselves; if {names} should live, look at its log"
        return Check(name="processes", status=Status.DEGRADED, seen=seen, advice=advice)
    return Check(name="processes", status=Status.GREEN, seen=seen)


def _stalled(facts: StoreFacts) -> Check:
    stalled = [run for run in facts.runs if run.idle_s is not None and run.idle_s > STALLED_AFTER_S]
    if not stalled:
        return Check(name="progress", status=Status.GREEN, seen=_counted(facts))
    queues = ", ".join(sorted({run.workflow for run in stalled}))
    return Check(
        name="progress",
        status=Status.RED,
        seen=f"{_listed(stalled)} could go on and nobody took them up",
        advice=f"start an engine that knows {queues}, or look at the health of the one that does",
    )


def _stuck(facts: StoreFacts) -> list[Check]:
    advice = {
        "failed": "their retries are spent: see `holdfast history RUN`, mend the cause, then `holdfast retry RUN`",
        "poisoned": "their process died again and again: see its log, mend the cause, then `holdfast retry RUN`",
        "suspect": "their process died without progress: they are tried one at a time by themselves",
        "paused": "somebody paused them: `holdfast resume RUN` when it is time",
    }
    status = {"failed": Status.RED, "poisoned": Status.RED, "suspect": Status.DEGRADED, "paused": Status.GREEN}
    found = []
    for name, words in advice.items():
        runs = [run for run in facts.runs if run.status == name]
        if runs:
            found.append(Check(name=name, status=status[name], seen=_listed(runs), advice=words))
    return found


def _locks(facts: StoreFacts) -> Check:
    held = sum(bool(lock.holders) for lock in facts.locks)
    waiting = sum(len(lock.waiters) for lock in facts.locks)
    return Check(name="locks", status=Status.GREEN, seen=f"{held} held, {waiting} waiting in line")


def _backup(facts: StoreFacts) -> Check:
    last, name = facts.backup, "backup"
    if last.age_s is None and not last.failure:
        advice = "take one: `holdfast backup FOLDER`, and by itself: `--every 1h --keep 24`"
        is_needed = any(facts.counts.values())
        status = Status.DEGRADED if is_needed else Status.GREEN
        return Check(name=name, status=status, seen="none of this store is known", advice=advice if is_needed else "")
    every = f", every {lasting(last.every_s)}" if last.every_s else ""
    seen = "there was none" if last.age_s is None else f"{lasting(last.age_s)} ago at {last.place}{every}"
    if last.failure:
        failed = f"the last try, {lasting(last.failure_age_s or 0)} ago, failed: {last.failure}"
        advice = "mend what it names, then see that the next one is good"
        return Check(name=name, status=Status.RED, seen=f"{failed}; the last good one: {seen}", advice=advice)
    if last.age_s and last.every_s and is_overdue(last.age_s, every_s=last.every_s, took_s=last.took_s):
        advice = "its schedule does not run: start `holdfast backup FOLDER --every` again, or end it by `--every never`"
        return Check(name=name, status=Status.RED, seen=f"older than its schedule: {seen}", advice=advice)
    return Check(name=name, status=Status.GREEN, seen=f"{seen}{', drilled' if last.was_drilled else ''}")


def _counted(facts: StoreFacts) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in facts.counts.items() if count) or "no live run"
    return counts if facts.is_whole else f"{counts} among those looked at; there are more"


def _listed(runs: Sequence[RunFacts]) -> str:
    names = ", ".join(run.ticket for run in runs[:LISTED_MAX])
    more = f" and {len(runs) - LISTED_MAX} more" if len(runs) > LISTED_MAX else ""
    return f"{len(runs)} runs ({names}{more})" if len(runs) > 1 else f"1 run ({names})"
