"""Runs that stand aside while what they need is not well: what parking and going on mean, and at what pace. Pure.

A parked leaf spends no attempt and keeps its visit, so what its steps have done is done. Its locks are given back. It
goes on when its dependency is well again; at `retry_at` it is looked at in any case, for whoever saw the dependency
come back may have died.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from holdfast.chart import shown
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.advance import ask_again, begin_attempt, decided, with_released
from holdfast.workflow.decisions.decision import Decision, Row, refused
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import Parking, Run, spec_text

CAN_PARK = ("working", "locking", "asking", "queuing", "parked")
REASON_CHARS_MAX = 500
LOOK_MIN_S = 30.0
LOOK_MAX_S = 600.0
WAVE_S = 0.25
"""Between two waves of parked runs that go on."""
WAVE_MAX = 20
"""How many go on at once where their dependency takes all of its calls."""
SHARE_OF_PACE = 0.5
"""How much of what a dependency takes on its way back is for those that are parked: others want something, too."""


def parked(built: Built, run: Run, event: on.Parked, now: float) -> Decision:
    """The leaf stands aside: no attempt is spent, what its visit has done is kept, its locks are given back."""
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase not in CAN_PARK:
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not working any more")
    reason = event.reason[:REASON_CHARS_MAX]
    since = now if leaf.parked is None else leaf.parked.since
    aside = replace(
        leaf.without_tokens(),
        phase="parked",
        deadline_at=None,
        retry_at=event.look_at,
        parked=Parking(on=event.on, since=since, reason=reason),
    )
    is_news = leaf.parked is None or leaf.parked.on != event.on
    facts = {"state": spec_text(event.leaf), "on": event.on, "reason": reason}
    row = Row(name="parked" if is_news else "parked-still", agent=event.agent, metadata=facts)
    decision = decided(replace(run, leaves={**run.leaves, event.leaf: aside}), (row,), stopped=(event.leaf,))
    return with_released(decision, ((event.leaf, leaf),) if leaf.locks and leaf.phase != "parked" else ())


def unparked(built: Built, run: Run, event: on.Unparked, now: float) -> Decision:
    """The leaf goes on where it was, after it has asked for its locks again."""
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.parked is None:
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not parked")
    rested = replace(leaf, parked=None, retry_at=None)
    again = ask_again(rested) if leaf.locks else begin_attempt(built.spec_of(event.leaf), rested, now)
    facts = {"state": spec_text(event.leaf), "on": leaf.parked.on, "parked_s": round(now - leaf.parked.since, 3)}
    row = Row(name="unparked", agent=event.agent, metadata=facts)
    return decided(replace(run, leaves={**run.leaves, event.leaf: again}), (row,), entered=(event.leaf,))


def look_at(now: float, *, since: float, retry_after_s: float | None) -> float:
    """When to look again at the latest (epoch seconds): as long as it has been parked for, within bounds, so that an
    outage of hours does not fill the journal; but not before it can be worth it."""
    return now + max(min(max(now - since, LOOK_MIN_S), LOOK_MAX_S), retry_after_s or 0.0)


class Wave(NamedTuple):
    """So many parked runs go on now, the next ones after `next_s` seconds."""

    size: int
    next_s: float


def wave(paces: Sequence[float]) -> Wave:
    """The next wave towards a dependency, `paces` being how many calls a second it and what it needs let in, where they
    are on their way back: no more than a part of what the slowest of them takes, so that nobody falls again."""
    if not paces:
        return Wave(WAVE_MAX, WAVE_S)
    a_second = min(paces) * SHARE_OF_PACE
    size = max(1, min(WAVE_MAX, int(a_second * WAVE_S)))
    return Wave(size, max(WAVE_S, size / a_second))
