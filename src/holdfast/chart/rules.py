"""The rules of statecharts, pure: which transitions an event selects, what they leave, what they enter.

Each function is a passage of the W3C SCXML recommendation, appendix D, over sets of states as integers. Two choices
are ours: a join may want fewer regions than all, and a parallel region of a parallel state counts when it is done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from holdfast.chart.definition import DEADLINE_PREFIX, DONE_PREFIX, TimerDef
from holdfast.chart.tree import Chart, Node, Transition, bits, bits_backwards

History = Mapping[str, tuple[str, ...]]
"""What each history state remembers: the paths that were active when its parent was last left."""


class Taken(NamedTuple):
    """A transition that was taken. `event` is "" for an eventless one."""

    source: str
    event: str
    targets: tuple[str, ...]


class Microstep(NamedTuple):
    """What taking one set of transitions does, as values. Timers are named by (state, timer) and (state, event)."""

    active: int
    leaves: tuple[str, ...]
    exited: tuple[str, ...]
    entered: tuple[str, ...]
    actions: tuple[str, ...]
    raised: tuple[str, ...]
    remembered: tuple[tuple[str, tuple[str, ...]], ...]
    taken: tuple[Taken, ...]
    timers_set: tuple[tuple[str, TimerDef], ...]
    timers_dropped: tuple[tuple[str, str], ...]
    is_done: bool
    is_settled: bool


def matches(descriptor: str, event: str) -> bool:
    """Whether one event descriptor takes `event`: by whole leading tokens; done and deadline events exactly."""
    if descriptor == "*":
        return True
    if descriptor.startswith((DONE_PREFIX, DEADLINE_PREFIX)) and not descriptor.endswith(".*"):
        return event == descriptor
    prefix = descriptor.removesuffix(".*").removesuffix(".")
    return event == prefix or event.startswith(prefix + ".")


def takes(transition: Transition, event: str) -> bool:
    """Whether a transition is for `event`, its guard aside; "" asks for eventless ones."""
    if not event:
        return not transition.descriptors
    return any(matches(descriptor, event) for descriptor in transition.descriptors)


def candidates(chart: Chart, active: int, event: str) -> tuple[tuple[Transition, ...], ...]:
    """For each active leaf in document order the transitions to try, innermost first; only leaves that have any.

    A leaf's list ends with its first unguarded transition, since nothing behind that can be reached.
    """
    found = []
    for leaf in bits(active & chart.leaves):
        tries: list[Transition] = []
        for number in (leaf, *chart.nodes[leaf].above):
            tries += (each for each in chart.nodes[number].transitions if takes(each, event))
        if tries:
            end = next((place for place, each in enumerate(tries) if not each.guard), len(tries))
            found.append(tuple(tries[: end + 1]))
    return tuple(found)


def without_conflicts(
    chart: Chart, selected: Iterable[Transition], active: int, history: History
) -> tuple[Transition, ...]:
    """The selected transitions that can be taken together.

    Of two that leave a common state the one from further inside wins, else the one selected first.
    """
    kept: list[tuple[Transition, int]] = []
    for mine in dict.fromkeys(selected):
        leaving = exits(chart, mine, active, history)
        rivals = [(other, left) for other, left in kept if left & leaving]
        if all(chart.nodes[other.source].below >> mine.source & 1 for other, _ in rivals):
            kept = [each for each in kept if each not in rivals]
            kept.append((mine, leaving))
    return tuple(transition for transition, _ in kept)


def exits(chart: Chart, transition: Transition, active: int, history: History) -> int:
    """The active states that a transition leaves."""
    if not transition.targets:
        return 0
    return active & chart.nodes[domain(chart, transition, history)].below


def domain(chart: Chart, transition: Transition, history: History) -> int:
    """The innermost state that stays active around a transition with targets."""
    goals = _goals(chart, transition.targets, history)
    source = chart.nodes[transition.source]
    if transition.is_internal and source.kind == "compound" and not goals & ~source.below:
        return source.number
    both = goals | 1 << source.number
    for number in source.above:
        node = chart.nodes[number]
        if node.kind == "compound" and not both & ~node.below:
            return number
    raise AssertionError(f"{source.path}: the top is around everything")


def microstep(chart: Chart, active: int, history: History, event: str, transitions: Sequence[Transition]) -> Microstep:
    """Leave, act, enter: the effect of taking compatible `transitions` at once because of `event`."""
    moves = [(each, domain(chart, each, history)) for each in transitions if each.targets]
    leaving = 0
    for _, around in moves:
        leaving |= active & chart.nodes[around].below
    actions: list[str] = []
    raised: list[str] = []
    left = [chart.nodes[number] for number in bits_backwards(leaving)]
    for node in left:
        actions += node.exit
        raised += node.exit_raises
    for transition in transitions:
        actions += transition.actions
        raised += transition.raises
    remembered = dict(_remember(chart, left, active))
    entering = 0
    for transition, around in moves:
        # What a history state remembers may lie within a state that stays active: only what is below is entered.
        entry = _Entry(chart, {**history, **remembered})
        entry.add_targets(transition.targets, 0)
        entering |= entry.states & chart.nodes[around].below
    return _enter(chart, active & ~leaving, entering, actions, raised)._replace(
        exited=tuple(node.path for node in left),
        remembered=tuple(remembered.items()),
        taken=tuple(Taken(chart.nodes[each.source].path, event, each.target_paths) for each in transitions),
        timers_dropped=tuple((node.path, timer.event) for node in left for timer in node.timers),
    )


def entry_at(chart: Chart, targets: tuple[int, ...]) -> Microstep:
    """The entry of `targets` and all that comes with them, from nothing."""
    entry = _Entry(chart, {})
    entry.add_targets(targets, 0)
    return _enter(chart, 0, entry.states, [], [])


def is_complete(chart: Chart, node: Node, active: int) -> bool:
    """Whether an active state has done its work: a final child, or enough complete regions."""
    if node.kind == "parallel":
        return _complete_regions(chart, node, active) >= node.join_count
    return any(chart.nodes[child].kind == "final" and active >> child & 1 for child in node.children)


def paths_of(chart: Chart, states: int) -> tuple[str, ...]:
    """The paths of a set of states in document order."""
    return tuple(chart.nodes[number].path for number in bits(states))


def _goals(chart: Chart, targets: tuple[int, ...], history: History) -> int:
    """The targets with history states replaced by what they stand for now."""
    goals = 0
    for target in targets:
        node = chart.nodes[target]
        for goal in _stands_for(chart, node, history) if node.is_history else (target,):
            goals |= 1 << goal
    return goals


def _stands_for(chart: Chart, node: Node, history: History) -> tuple[int, ...]:
    remembered = history.get(node.path)
    return node.initial if remembered is None else tuple(chart.numbers[path] for path in remembered)


def _remember(chart: Chart, left: list[Node], active: int) -> Iterable[tuple[str, tuple[str, ...]]]:
    for node in left:
        for number in node.histories:
            history = chart.nodes[number]
            inside = active & node.below
            if history.kind == "deep_history":
                yield history.path, paths_of(chart, inside & chart.leaves)
            else:
                yield history.path, tuple(chart.nodes[child].path for child in node.children if inside >> child & 1)


def _enter(chart: Chart, active: int, entering: int, actions: list[str], raised: list[str]) -> Microstep:
    """Enter states in document order on top of what stayed `active`, adding to `actions` and `raised`."""
    assert not entering & active, f"entered twice: {paths_of(chart, entering & active)}"
    entered = [chart.nodes[number] for number in bits(entering)]
    is_done = False
    for node in entered:
        active |= 1 << node.number
        actions += node.entry
        raised += node.entry_raises
        if node.kind == "final":
            is_done = is_done or node.parent == 0
            raised += _completions(chart, node, active)
    return Microstep(
        active=active,
        leaves=paths_of(chart, active & chart.leaves),
        exited=(),
        entered=tuple(node.path for node in entered),
        actions=tuple(actions),
        raised=tuple(raised),
        remembered=(),
        taken=(),
        timers_set=tuple((node.path, timer) for node in entered for timer in node.timers),
        timers_dropped=(),
        is_done=is_done,
        is_settled=not candidates(chart, active, ""),
    )


def _completions(chart: Chart, final: Node, active: int) -> list[str]:
    """The done events of a final state just entered: its parent's, and each join's that it completes.

    A join fires when the count of its complete regions reaches `join_count`, not when it passes beyond.
    """
    if final.parent == 0:
        return []
    events = [DONE_PREFIX + chart.nodes[final.parent].path]
    for number in chart.nodes[final.parent].above:
        node = chart.nodes[number]
        if node.kind != "parallel" or _complete_regions(chart, node, active) != node.join_count:
            break
        events.append(DONE_PREFIX + node.path)
    return events


def _complete_regions(chart: Chart, node: Node, active: int) -> int:
    return sum(is_complete(chart, chart.nodes[child], active) for child in node.children)


class _Entry:
    """Collects the set of states to enter."""

    def __init__(self, chart: Chart, history: History) -> None:
        self.chart = chart
        self.history = history
        self.states = 0

    def add_targets(self, targets: Sequence[int], around: int) -> None:
        """Targets, what comes with them by default, and what lies between them and the state `around`."""
        for target in targets:
            self._add(target)
        for target in targets:
            self._add_between(target, around)

    def _add(self, number: int) -> None:
        node = self.chart.nodes[number]
        if node.is_history:
            self.add_targets(_stands_for(self.chart, node, self.history), node.parent)
            return
        self.states |= 1 << number
        if node.kind == "compound":
            self.add_targets(node.initial, number)
        elif node.kind == "parallel":
            self._add_regions(node)

    def _add_between(self, number: int, around: int) -> None:
        for above in self.chart.nodes[number].above:
            if above == around:
                return
            node = self.chart.nodes[above]
            self.states |= 1 << above
            if node.kind == "parallel":
                self._add_regions(node)

    def _add_regions(self, node: Node) -> None:
        for child in node.children:
            if not self.states & (self.chart.nodes[child].below | 1 << child):
                self._add(child)
