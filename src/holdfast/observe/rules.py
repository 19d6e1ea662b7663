"""From facts to a verdict on health: pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

_WAIT = "nothing is lost and nothing is stale; it comes back by itself once what it names does"
CLOCK_APART_MAX_S = 5.0
"""How far this machine's clock may be from the store's. Nothing depends on it but what people make of two times."""


class Status(enum.Enum):
    """`GREEN` works; `DEGRADED` works with something missing; `RED` cannot do what it is for."""

    GREEN = "green"
    DEGRADED = "degraded"
    RED = "red"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing looked at: what was seen, and what to do where it is not green."""

    name: str
    status: Status
    seen: str
    advice: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict: as bad as the worst check."""

    status: Status
    checks: tuple[Check, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What health is judged from. Seconds; counts of runs of this process. `recovered`: in words, how long runs had
    nobody; `suspects_here`: why suspects are not tried in a process of their own, None where they are; `clock_ahead_s`:
    this machine's clock less the store's; `dependencies`: how each of them is that is not well, in words, and how many
    `dependencies_well` are."""

    store_ailment: str | None
    store_weakness: str | None = None
    store_remedy: str = ""
    durability: str
    lease_left_s: float | None
    sweep_problem: str | None
    is_recovery_running: bool
    active_runs: int
    free_places: int
    recovered: str = ""
    suspects_here: str | None = None
    clock_ahead_s: float = 0.0
    dependencies: dict[str, str] = {}
    dependencies_well: int = 0
    problems: dict[str, str] = {}


def judge(facts: Facts) -> Health:
    """The health that `facts` mean."""
    checks = (
        _store(facts),
        _lease(facts),
        _recovery(facts),
        _places(facts),
        _clock(facts),
        *_dependencies(facts),
        *_problems(facts),
    )
    return Health(status=worst([check.status for check in checks]), checks=checks)


def worst(statuses: Sequence[Status]) -> Status:
    """The worst of several, GREEN of none."""
    order = list(Status)
    return max(statuses, key=order.index, default=Status.GREEN)


def _store(facts: Facts) -> Check:
    if facts.store_ailment is not None:
        advice = "mend what it names, then restart this process: queued writes were refused, none was half done"
        return Check(name="store", status=Status.RED, seen=facts.store_ailment, advice=advice)
    if facts.store_weakness is not None:
        advice = facts.store_remedy or _WAIT
        return Check(name="store", status=Status.DEGRADED, seen=facts.store_weakness, advice=advice)
    return Check(name="store", status=Status.GREEN, seen=f"commits, which survive {facts.durability}")


def _lease(facts: Facts) -> Check:
    if facts.lease_left_s is None:
        return Check(name="lease", status=Status.GREEN, seen="not needed: no other process can reach this store")
    if facts.lease_left_s <= 0:
        advice = "the event loop or the store stood still; others may have taken runs over, which is safe"
        return Check(name="lease", status=Status.RED, seen=f"lapsed {-facts.lease_left_s:.1f} s ago", advice=advice)
    return Check(name="lease", status=Status.GREEN, seen=f"good for {facts.lease_left_s:.1f} s")


def _recovery(facts: Facts) -> Check:
    if not facts.is_recovery_running:
        advice = "restart this process; nobody here takes up runs of dead processes"
        return Check(name="recovery", status=Status.RED, seen="the sweep is not running", advice=advice)
    if facts.sweep_problem is not None:
        return Check(
            name="recovery", status=Status.DEGRADED, seen=facts.sweep_problem, advice="it is tried again by itself"
        )
    here = f"suspects are tried in this process: {facts.suspects_here}" if facts.suspects_here else ""
    seen = "; ".join(words for words in ("sweeps", facts.recovered, here) if words)
    return Check(name="recovery", status=Status.GREEN, seen=seen)


def _places(facts: Facts) -> Check:
    seen = f"{facts.active_runs} active runs, {facts.free_places} places free"
    if facts.free_places == 0:
        return Check(
            name="places",
            status=Status.DEGRADED,
            seen=seen,
            advice="runs wait in line; raise runs_max or add processes",
        )
    return Check(name="places", status=Status.GREEN, seen=seen)


def _clock(facts: Facts) -> Check:
    apart_s = abs(facts.clock_ahead_s)
    if apart_s > CLOCK_APART_MAX_S:
        side = "ahead of" if facts.clock_ahead_s > 0 else "behind"
        advice = (
            "let NTP set it (`timedatectl set-ntp true`). Locks, leases and due times go by the store's clock and are "
            "right; the times in this machine's log are not"
        )
        seen = f"{apart_s:.1f} s {side} the store's"
        return Check(name="clock", status=Status.DEGRADED, seen=seen, advice=advice)
    return Check(name="clock", status=Status.GREEN, seen=f"within {CLOCK_APART_MAX_S:g} s of the store's")


def _dependencies(facts: Facts) -> list[Check]:
    """One check for each that is not well; the rest are one together, where there are any."""
    advice = "it is probed by itself once its roots are well; `holdfast breakers` shows who is to blame, and since when"
    found = [
        Check(name=f"dependency {name}", status=Status.DEGRADED, seen=words, advice=advice)
        for name, words in facts.dependencies.items()
    ]
    if facts.dependencies_well:
        found.append(Check(name="dependencies", status=Status.GREEN, seen=f"{facts.dependencies_well} well"))
    return found


def _problems(facts: Facts) -> list[Check]:
    advice = "see the log; the run or task stopped here and is taken up again by a sweep or by `holdfast resume`"
    return [Check(name=name, status=Status.DEGRADED, seen=text, advice=advice) for name, text in facts.problems.items()]
