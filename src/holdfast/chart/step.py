"""The step: one event against one configuration gives the next configuration and everything that follows from it.

`step` never mutates, never awaits, and refuses by default: an event that no active state takes changes nothing and
comes back with the reason. Actions and timers are values; whoever commits the step carries them out afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from holdfast.chart import rules
from holdfast.chart.configuration import Configuration, Timer, active_states, require_chart
from holdfast.chart.definition import DONE_PREFIX
from holdfast.chart.macrostep import Macrostep, Refusal, choose, settle
from holdfast.chart.rules import Microstep, Taken
from holdfast.chart.tree import Chart
from holdfast.errors import Rejected

UNHANDLED = "unhandled"
FINAL = "final"
RESERVED = f"reserved: only the chart itself raises {DONE_PREFIX}* events"


class DroppedTimer(NamedTuple):
    """A timer to drop, because its state was left. It may have gone off before."""

    state: str
    event: str
    visit: int


class Step(msgspec.Struct, frozen=True):
    """What one event did.

    `actions`, `exited`, `entered` and `taken` are in the order of execution, over all microsteps. `raised` are the
    internal events that were processed: `done.state.PATH` and what transitions raised. A timer that was set and
    dropped within the step appears nowhere. Refused: nothing but `configuration` (the very same object) and `reason`.
    """

    configuration: Configuration
    outcome: Literal["accepted", "refused"] = "accepted"
    reason: str = ""
    actions: tuple[str, ...] = ()
    exited: tuple[str, ...] = ()
    entered: tuple[str, ...] = ()
    timers_set: tuple[Timer, ...] = ()
    timers_dropped: tuple[DroppedTimer, ...] = ()
    raised: tuple[str, ...] = ()
    taken: tuple[Taken, ...] = ()

    @property
    def is_accepted(self) -> bool:
        """Whether any transition was taken."""
        return self.outcome == "accepted"


def start(chart: Chart, data: Any = None) -> Step:
    """The first step: enter the initial states and come to rest. Raises Rejected where a guard cannot answer."""
    nowhere = Configuration((), {}, {}, chart.hash)
    try:
        first = rules.entry_at(chart, chart.nodes[0].initial)
        return _assemble(nowhere, settle(chart, first, nowhere.history, _Judge(chart, data, None)))
    except Refusal as refusal:
        raise Rejected(f"chart {chart.name}: cannot start: {refusal.reason}", chart=chart.name) from refusal


def step(chart: Chart, configuration: Configuration, event: str, data: Any = None, event_data: Any = None) -> Step:
    """What `event` does in `configuration`. Guards see `data` (the run's) and `event_data`.

    Refused with a reason: "unhandled", "guard X refused", "guard X raised ...", "loop: ...", "reserved: ..." or
    "final". Raises InvalidDefinition where the configuration is of another chart, Corrupt where it is not legal.
    """
    require_chart(chart, configuration)
    if configuration.is_done:
        return Step(configuration, "refused", FINAL)
    if not event or event.startswith(DONE_PREFIX):
        return Step(configuration, "refused", RESERVED if event else UNHANDLED)
    judge = _Judge(chart, data, event_data)
    try:
        first = choose(chart, active_states(chart, configuration), configuration.history, event, judge)
        if first is None:
            return Step(configuration, "refused", judge.reason())
        return _assemble(configuration, settle(chart, first, configuration.history, judge))
    except Refusal as refusal:
        return Step(configuration, "refused", refusal.reason)


class _Judge:
    """Asks each guard at most once."""

    __slots__ = ("chart", "data", "event_data", "verdicts")

    def __init__(self, chart: Chart, data: Any, event_data: Any) -> None:
        self.chart = chart
        self.data = data
        self.event_data = event_data
        self.verdicts: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        known = self.verdicts.get(name)
        if known is None:
            known = self.verdicts[name] = self._ask(name)
        return known

    def reason(self) -> str:
        """Why nothing was selected."""
        refused = [name for name, verdict in self.verdicts.items() if not verdict]
        if not refused:
            return UNHANDLED
        return f"guard {refused[0]} refused" if len(refused) == 1 else f"guards {', '.join(refused)} refused"

    def _ask(self, name: str) -> bool:
        try:
            verdict = self.chart.guards[name](self.data, self.event_data)
        except Exception as error:  # a user's predicate: whatever it raises becomes the recorded reason of a refusal
            raise Refusal(f"guard {name} raised {type(error).__name__}: {error}") from error
        if not isinstance(verdict, bool):
            raise Refusal(f"guard {name} raised TypeError: expected a bool, saw {type(verdict).__name__}")
        return verdict


def _assemble(before: Configuration, macrostep: Macrostep) -> Step:
    steps = macrostep.microsteps
    visits = dict(before.visits)
    timers_set: dict[tuple[str, str], Timer] = {}
    dropped: list[DroppedTimer] = []
    for each in steps:
        for state, event in each.timers_dropped:
            if timers_set.pop((state, event), None) is None:
                dropped.append(DroppedTimer(state, event, visits[state]))
        for state in each.entered:
            visits[state] = visits.get(state, 0) + 1
        for state, timer in each.timers_set:
            timers_set[state, timer.event] = Timer(state, timer.event, timer.after_s, visits[state])
    after = Configuration(steps[-1].leaves, _remembered(before, steps), visits, before.chart_hash, steps[-1].is_done)
    if len(steps) == 1:
        actions, exited, entered, taken = steps[0].actions, steps[0].exited, steps[0].entered, steps[0].taken
    else:
        actions = tuple([action for each in steps for action in each.actions])
        exited = tuple([path for each in steps for path in each.exited])
        entered = tuple([path for each in steps for path in each.entered])
        taken = tuple([one for each in steps for one in each.taken])
    return Step(
        configuration=after,
        actions=actions,
        exited=exited,
        entered=entered,
        timers_set=tuple(timers_set.values()),
        timers_dropped=tuple(dropped),
        raised=tuple(macrostep.processed),
        taken=taken,
    )


def _remembered(before: Configuration, steps: Sequence[Microstep]) -> dict[str, tuple[str, ...]]:
    history = dict(before.history)
    for each in steps:
        history.update(each.remembered)
    return history
