"""The first half of compiling: every state gets its number and its path, and its own fields must agree.

What a state says about other states is checked by `compile`, which has all numbers by then.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from holdfast.chart.definition import DEADLINE_PREFIX, DONE_PREFIX, ChartDef, Join, Kind, StateDef, TimerDef
from holdfast.errors import InvalidDefinition

DEPTH_MAX = 64
"""Bound on the nesting of states."""

HISTORY_KINDS: frozenset[Kind] = frozenset({"shallow_history", "deep_history"})
_FIELDS_OF: dict[Kind, frozenset[str]] = {
    "atomic": frozenset({"transitions", "entry", "exit", "entry_raises", "exit_raises", "timers"}),
    "compound": frozenset(
        {"children", "initial", "transitions", "entry", "exit", "entry_raises", "exit_raises", "timers"}
    ),
    "parallel": frozenset(
        {"children", "transitions", "entry", "exit", "entry_raises", "exit_raises", "timers", "join"}
    ),
    "final": frozenset({"entry", "exit", "entry_raises", "exit_raises"}),
    "shallow_history": frozenset({"initial"}),
    "deep_history": frozenset({"initial"}),
}
_BAD_NAME = re.compile(r"[.\s*]|[\x00-\x1f]")
_BAD_EVENT = re.compile(r"[\s*\x00-\x1f]")


@dataclass(frozen=True, slots=True)
class Draft:
    """A state with its number in document order; `last` is the number of its last descendant, itself if none."""

    number: int
    last: int
    path: str
    above: tuple[int, ...]
    children: tuple[int, ...]
    state: StateDef

    @property
    def below(self) -> int:
        """The set of its descendants: numbers in document order lie next to each other."""
        return (1 << (self.last + 1)) - (1 << (self.number + 1))


def outline(definition: ChartDef) -> list[Draft]:
    """All states in document order, the unnamed top first. Raises InvalidDefinition for a state that has no meaning."""
    top = StateDef("", "compound", definition.children, definition.initial)
    drafts: list[Draft | None] = []
    _walk(definition.name, drafts, top, "", ())
    return [draft for draft in drafts if draft is not None]


def refuse(chart: str, path: str, text: str) -> NoReturn:
    """Raise InvalidDefinition about a state of a chart."""
    where = f"state {path!r}" if path else "the top"
    raise InvalidDefinition(f"chart {chart}, {where}: {text}", chart=chart, state=path)


def check_event(chart: str, path: str, event: str, what: str) -> None:
    """Refuse an event name that cannot be raised: it has to be one token that no rule reserves."""
    if not event or _BAD_EVENT.search(event) or event.startswith(DONE_PREFIX):
        refuse(chart, path, f"expected {what} to be a name without spaces, '*' or {DONE_PREFIX!r}, saw {event!r}")


def _walk(chart: str, drafts: list[Draft | None], state: StateDef, path: str, above: tuple[int, ...]) -> int:
    """Append the drafts of a state and all below it; returns its number."""
    if len(above) > DEPTH_MAX:
        refuse(chart, path, f"expected at most {DEPTH_MAX} levels of states")
    _check_fields(chart, path, state)
    number = len(drafts)
    drafts.append(None)
    prefix = path + "." if path else ""
    seen: set[str] = set()
    children = []
    for child in state.children:
        if not child.name or _BAD_NAME.search(child.name):
            refuse(chart, path, f"expected names of states without dots, spaces or '*', saw {child.name!r}")
        if child.name in seen:
            refuse(chart, prefix + child.name, "expected each name once among siblings, saw it twice")
        seen.add(child.name)
        children.append(_walk(chart, drafts, child, prefix + child.name, (number, *above)))
    drafts[number] = Draft(number, len(drafts) - 1, path, above, tuple(children), state)
    return number


def _check_fields(chart: str, path: str, state: StateDef) -> None:
    """Refuse fields that contradict the kind, and values that contradict themselves."""
    empty = StateDef(state.name)
    for field in StateDef.__struct_fields__[2:]:
        if getattr(state, field) != getattr(empty, field) and field not in _FIELDS_OF[state.kind]:
            refuse(chart, path, f"expected no {field} on a state of kind {state.kind!r}, saw some")
    if state.kind in ("compound", "parallel") and all(child.kind in HISTORY_KINDS for child in state.children):
        refuse(chart, path, f"expected at least one child that can be active in a {state.kind} state, saw none")
    if state.kind == "parallel":
        _check_regions(chart, path, state)
    events = [timer.event for timer in state.timers]
    for timer in state.timers:
        _check_timer(chart, path, timer)
        if events.count(timer.event) > 1:
            refuse(chart, path, f"expected one timer for each event, saw two for {timer.event!r}")
    for event in (*state.entry_raises, *state.exit_raises, *(e for each in state.transitions for e in each.raises)):
        check_event(chart, path, event, "a raised event")


def _check_regions(chart: str, path: str, state: StateDef) -> None:
    regions = [child for child in state.children if child.kind not in HISTORY_KINDS]
    for child in regions:
        if child.kind == "final":
            refuse(chart, path, f"expected regions with states inside, saw the final state {child.name!r}")
    join: Join = state.join
    if join.kind == "quorum" and not 1 <= join.count <= len(regions):
        refuse(chart, path, f"expected a quorum of 1 to {len(regions)} regions, saw {join.count}")
    if join.kind != "quorum" and join.count:
        refuse(chart, path, f"expected a count only with kind 'quorum', saw {join.count} with {join.kind!r}")
    if join.deadline_s is not None:
        _check_timer(chart, path, TimerDef(DEADLINE_PREFIX + path, join.deadline_s))


def _check_timer(chart: str, path: str, timer: TimerDef) -> None:
    check_event(chart, path, timer.event, "a timer's event")
    if not math.isfinite(timer.after_s) or timer.after_s < 0:
        refuse(chart, path, f"expected {timer.event!r} after zero or more seconds, saw {timer.after_s}")
