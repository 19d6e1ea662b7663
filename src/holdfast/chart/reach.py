"""What a chart can do at all: which states can be entered, which can be done, which transitions can be taken.

One fixed point over states and transitions. It errs on the side of "can": guards and events are free.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.chart import rules
from holdfast.chart.definition import DONE_PREFIX
from holdfast.chart.tree import Chart, Node, Transition, bits


@dataclass(frozen=True, slots=True)
class Reach:
    """The set of states that can be entered, the transitions that can be taken, and those that others shadow."""

    chart: Chart
    states: int
    live: tuple[Transition, ...]
    shadowed: frozenset[int]

    def has(self, number: int) -> bool:
        """Whether a state can be entered."""
        return bool(self.states >> number & 1)

    def can_be_done(self, path: str) -> bool:
        """Whether the state at `path` can complete; False where there is no such state."""
        number = self.chart.numbers.get(path)
        return number is not None and _completes(self.chart, self.chart.nodes[number], self.states, None)


def explore(chart: Chart) -> Reach:
    """Grow the set of reachable states until nothing is added. Cost: transitions times rounds of growth."""
    shadowed = frozenset(
        each.number for node in chart.nodes for each in node.transitions if _is_shadowed(chart, node, each)
    )
    states = _entered(chart, chart.nodes[0].initial, 0)
    while True:
        known = Reach(chart, states, _live(chart, states, shadowed), shadowed)
        for transition in known.live:
            if transition.targets:
                states |= _entered(chart, transition.targets, rules.domain(chart, transition, {}))
        if states == known.states:
            return known


def leaves_behind(known: Reach, transition: Transition, leaf: Node) -> bool:
    """Whether a transition can leave `leaf` while nothing else moves there."""
    chart = known.chart
    if not transition.targets or not go_together(chart, chart.nodes[transition.source], leaf):
        return False
    if not chart.nodes[rules.domain(chart, transition, {})].below >> leaf.number & 1:
        return False
    return _can_happen(chart, transition, known.states, leaf)


def is_taken_by(known: Reach, event: str, transition: Transition, node: Node) -> bool:
    """Whether a transition takes `event` and can be looked at while `node` is active."""
    return rules.takes(transition, event) and go_together(known.chart, known.chart.nodes[transition.source], node)


def go_together(chart: Chart, mine: Node, other: Node) -> bool:
    """Whether two states can be active at once: one around the other, or in different regions."""
    mine_line, other_line = (mine.number, *mine.above), (other.number, *other.above)
    meeting = next(each for each in mine_line if each in other_line)
    return meeting in (mine.number, other.number) or chart.nodes[meeting].kind == "parallel"


def _entered(chart: Chart, targets: tuple[int, ...], around: int) -> int:
    """What entering `targets` adds below the state `around`, history states that may be passed included."""
    states = rules.entry_at(chart, targets).active & chart.nodes[around].below
    for goal in (*targets, *(goal for number in bits(states) for goal in chart.nodes[number].initial)):
        if chart.nodes[goal].is_history:
            states |= 1 << goal
    return states


def _live(chart: Chart, states: int, shadowed: frozenset[int]) -> tuple[Transition, ...]:
    return tuple(
        transition
        for number in bits(states)
        for transition in chart.nodes[number].transitions
        if transition.number not in shadowed and _can_happen(chart, transition, states, None)
    )


def _can_happen(chart: Chart, transition: Transition, states: int, stuck: Node | None) -> bool:
    """Whether one of a transition's events can come, while the leaf `stuck` stays where it is."""
    if not transition.descriptors:
        return True
    return any(_can_come(chart, descriptor, states, stuck) for descriptor in transition.descriptors)


def _can_come(chart: Chart, descriptor: str, states: int, stuck: Node | None) -> bool:
    if not descriptor.startswith(DONE_PREFIX) or descriptor.endswith("*"):
        return True
    number = chart.numbers.get(descriptor.removeprefix(DONE_PREFIX))
    return number is not None and _completes(chart, chart.nodes[number], states, stuck)


def _completes(chart: Chart, node: Node, states: int, stuck: Node | None) -> bool:
    """Whether a state can be done with what can be entered; the active child around `stuck` does not change."""
    if node.kind == "parallel":
        return sum(_completes(chart, chart.nodes[child], states, stuck) for child in node.children) >= node.join_count
    finals = [child for child in node.children if chart.nodes[child].kind == "final" and states >> child & 1]
    if stuck is not None and node.below >> stuck.number & 1:
        return stuck.number in finals
    return bool(finals)


def _is_shadowed(chart: Chart, node: Node, transition: Transition) -> bool:
    """Whether for each of its events something that cannot refuse always goes first."""
    earlier = [each for each in node.transitions if each.number < transition.number and not each.guard]
    for descriptor in transition.descriptors or ("",):
        if any(_covers(each, descriptor) for each in earlier):
            continue
        if not _inside_covers(chart, node, descriptor, transition):
            return False
    return True


def _inside_covers(chart: Chart, node: Node, descriptor: str, transition: Transition) -> bool:
    """Whether the states inside `node` always take the event before it, or pre-empt what it would do."""
    if not node.children:
        return False
    regions = [chart.nodes[child] for child in node.children]
    if all(_covered(chart, child, descriptor) for child in regions):
        return True
    is_preempted = node.kind == "parallel" and bool(transition.targets)
    return is_preempted and any(
        _covered(chart, region, descriptor) and not _may_stay(chart, region, descriptor) for region in regions
    )


def _covered(chart: Chart, node: Node, descriptor: str) -> bool:
    """Whether each leaf at or inside `node` has an unguarded transition for the event on its way up to `node`."""
    if any(_covers(each, descriptor) for each in node.transitions if not each.guard):
        return True
    results = (_covered(chart, chart.nodes[child], descriptor) for child in node.children)
    return bool(node.children) and all(results)


def _may_stay(chart: Chart, node: Node, descriptor: str) -> bool:
    """Whether some transition at or inside `node` may take such an event and leave nothing: it pre-empts nobody."""
    if any(not each.targets and _may_take(each, descriptor) for each in node.transitions):
        return True
    return any(_may_stay(chart, chart.nodes[child], descriptor) for child in node.children)


def _may_take(transition: Transition, wanted: str) -> bool:
    """Whether there are events that a transition and the descriptor `wanted` both take."""
    if not wanted or not transition.descriptors:
        return not wanted and not transition.descriptors
    return any(_meet(_stem(each), _stem(wanted)) for each in transition.descriptors)


def _meet(one: str, other: str) -> bool:
    return not one or not other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _stem(descriptor: str) -> str:
    """What all events of a descriptor begin with, "" where it takes any."""
    return "" if descriptor == "*" else descriptor.removesuffix(".*").removesuffix(".")


def _covers(transition: Transition, wanted: str) -> bool:
    """Whether a transition takes every event that the descriptor `wanted` takes."""
    if not wanted:
        return not transition.descriptors
    if wanted == "*":
        return "*" in transition.descriptors
    prefix = _stem(wanted)
    probes = (wanted,) if prefix == wanted else (prefix, prefix + ".x")
    return all(rules.takes(transition, probe) for probe in probes)
