"""From one event to rest: microsteps until nothing is enabled and no internal event is left.

Eventless transitions go first, then internal events in the order they were raised. Data does not change in between,
because actions are only values, so a guard is asked once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from holdfast.chart import rules
from holdfast.chart.rules import History, Microstep
from holdfast.chart.tree import Chart, Transition, remember

MICROSTEPS_MAX = 1000
"""Bound on the microsteps that one event may cause; only a loop gets there."""

Judge = Callable[[str], bool]
"""Answers whether a guard, by name, holds. Raises Refusal where it cannot."""


class Refusal(Exception):
    """The event is refused as a whole, for the reason given. Never leaves this room."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Macrostep(NamedTuple):
    """The microsteps that one event caused, and the internal events that were processed on the way."""

    microsteps: list[Microstep]
    processed: list[str]


class _Moves(NamedTuple):
    """What one event may select in one set of active states; `sure` where no guard has a say."""

    tries: tuple[tuple[Transition, ...], ...]
    sure: tuple[Transition, ...] | None


def choose(chart: Chart, active: int, history: History, event: str, judge: Judge) -> Microstep | None:
    """The microstep that `event` ("" for eventless) causes, or None where no transition is enabled."""
    moves = _moves(chart, active, event)
    selected = moves.sure
    if selected is None:
        selected = tuple(_select(moves.tries, judge))
    if not selected:
        return None
    memories = tuple([history.get(path) for path in chart.histories]) if chart.histories else ()
    key = (active, event, selected, memories)
    known: Microstep | None = chart.memo.microsteps.get(key)
    if known is None:
        transitions = rules.without_conflicts(chart, selected, active, history)
        known = rules.microstep(chart, active, history, event, transitions)
        remember(chart.memo.microsteps, key, known)
    return known


def settle(chart: Chart, first: Microstep, history: History, judge: Judge) -> Macrostep:
    """Go on from a first microstep until the chart rests. Raises Refusal: a guard cannot answer, or a loop."""
    steps, processed = [first], list[str]()
    if first.is_done or (first.is_settled and not first.raised):
        return Macrostep(steps, processed)
    queue = deque(first.raised)
    memory = {**history, **dict(first.remembered)}
    while not steps[-1].is_done:
        now = steps[-1]
        following = None if now.is_settled else choose(chart, now.active, memory, "", judge)
        while following is None and queue:
            event = queue.popleft()
            processed.append(event)
            following = choose(chart, now.active, memory, event, judge)
        if following is None:
            break
        if len(steps) >= MICROSTEPS_MAX:
            raise Refusal(f"loop: {_name_loop(steps)} goes on after {MICROSTEPS_MAX} microsteps")
        steps.append(following)
        queue.extend(following.raised)
        memory.update(following.remembered)
    return Macrostep(steps, processed)


def _moves(chart: Chart, active: int, event: str) -> _Moves:
    known: _Moves | None = chart.memo.moves.get((active, event))
    if known is None:
        tries = rules.candidates(chart, active, event)
        is_sure = not any(each.guard for leaf in tries for each in leaf)
        known = _Moves(tries, tuple(dict.fromkeys(leaf[0] for leaf in tries)) if is_sure else None)
        remember(chart.memo.moves, (active, event), known)
    return known


def _select(tries: tuple[tuple[Transition, ...], ...], judge: Judge) -> dict[Transition, None]:
    """For each leaf the first transition whose guard holds, in order and without repetition."""
    selected: dict[Transition, None] = {}
    for leaf in tries:
        for each in leaf:
            if not each.guard or judge(each.guard):
                selected[each] = None
                break
    return selected


def _name_loop(steps: list[Microstep]) -> str:
    """The transitions' sources from one configuration to the same again, as "a -> b -> a"."""
    last = len(steps) - 1
    again = next((place for place in range(last - 1, -1, -1) if steps[place].active == steps[last].active), 0)
    sources = [taken.source for step in steps[again + 1 :] for taken in step.taken]
    return " -> ".join([*sources, sources[0]])
