"""From a definition to a chart, refusing only what has no meaning.

What has a meaning but is likely a mistake (a state that nothing reaches, a dead end) is the business of `check`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType

from holdfast import codec
from holdfast.chart import rules
from holdfast.chart.definition import DEADLINE_PREFIX, ChartDef, TimerDef, TransitionDef
from holdfast.chart.macrostep import Refusal, settle
from holdfast.chart.outline import HISTORY_KINDS, Draft, outline, refuse
from holdfast.chart.tree import Chart, Guard, Node, Transition

_NO_GUARDS: Mapping[str, Guard] = MappingProxyType({})


def compile(definition: ChartDef, guards: Mapping[str, Guard] = _NO_GUARDS) -> Chart:
    """The chart of a definition, its guards' names resolved. The same definition always has the same hash.

    Raises InvalidDefinition, naming the chart and the state: a bad or double name, a kind that contradicts its
    fields, an unknown target or guard, targets that exclude each other, an initial state that lies elsewhere, a loop
    of eventless transitions or raised events that is certain to never end.
    """
    nodes = _Compiler(definition, guards).nodes()
    chart = Chart(
        definition=definition,
        hash=hashlib.sha256(codec.canonical(definition)).hexdigest(),
        nodes=nodes,
        numbers=MappingProxyType({node.path: node.number for node in nodes[1:]}),
        guards=MappingProxyType(dict(guards)),
        leaves=sum(1 << node.number for node in nodes if node.is_leaf),
        histories=tuple(node.path for node in nodes if node.is_history),
    )
    _refuse_certain_loops(chart)
    return chart


class _Compiler:
    """Turns drafts into nodes; holds what every check needs to see."""

    def __init__(self, definition: ChartDef, guards: Mapping[str, Guard]) -> None:
        self.name = definition.name
        self.guards = guards
        self.drafts = outline(definition)
        self.numbers = {draft.path: draft.number for draft in self.drafts[1:]}
        self.transitions = 0

    def nodes(self) -> tuple[Node, ...]:
        """All states, compiled, in document order."""
        return tuple(self._node(draft) for draft in self.drafts)

    def _node(self, draft: Draft) -> Node:
        state = draft.state
        regions = self._active_children(draft)
        timers = state.timers
        if state.join.deadline_s is not None:
            timers = (*timers, TimerDef(DEADLINE_PREFIX + draft.path, state.join.deadline_s))
        count = {"all": len(regions), "any": 1, "quorum": state.join.count}[state.join.kind]
        return Node(
            number=draft.number,
            path=draft.path,
            kind=state.kind,
            parent=draft.above[0] if draft.above else 0,
            above=draft.above,
            below=draft.below,
            children=regions,
            histories=tuple(each for each in draft.children if each not in regions),
            initial=self._initial(draft),
            transitions=tuple(self._transition(draft, each) for each in state.transitions),
            entry=state.entry,
            exit=state.exit,
            entry_raises=state.entry_raises,
            exit_raises=state.exit_raises,
            timers=timers,
            join=state.join,
            join_count=count if state.kind == "parallel" else 0,
        )

    def _active_children(self, draft: Draft) -> tuple[int, ...]:
        return tuple(child for child in draft.children if self.drafts[child].state.kind not in HISTORY_KINDS)

    def _initial(self, draft: Draft) -> tuple[int, ...]:
        """What is entered by default; for a history state what it stands for at first."""
        if draft.state.kind in HISTORY_KINDS:
            parent = self.drafts[draft.above[0]]
            if not draft.state.initial:
                return self._children_by_default(parent, within=draft)
            return self._inside(draft, parent, "what a history state stands for at first")
        if draft.state.kind != "compound":
            return ()
        if not draft.state.initial:
            return self._active_children(draft)[:1]
        return self._inside(draft, draft, "the initial states")

    def _children_by_default(self, parent: Draft, *, within: Draft) -> tuple[int, ...]:
        """The default of a history state's parent, for a history state that names none itself."""
        if parent.state.kind == "parallel":
            return self._active_children(parent)
        initial = self._initial(parent)
        if within.number in initial:
            refuse(self.name, within.path, "expected an initial of its own, since its parent's default is this state")
        return initial

    def _inside(self, draft: Draft, around: Draft, what: str) -> tuple[int, ...]:
        """The numbers of the `initial` paths of a draft, which have to lie inside `around`."""
        goals = self._targets(draft, draft.state.initial)
        for path, goal in zip(draft.state.initial, goals, strict=True):
            if not around.below >> goal & 1:
                refuse(self.name, draft.path, f"expected {what} inside {around.path or 'the chart'!r}, saw {path!r}")
            if draft.state.kind in HISTORY_KINDS and self.drafts[goal].state.kind in HISTORY_KINDS:
                refuse(self.name, draft.path, f"expected {what} to be real states, saw the history state {path!r}")
        return goals

    def _transition(self, draft: Draft, transition: TransitionDef) -> Transition:
        descriptors = tuple(transition.event.split())
        if transition.guard and transition.guard not in self.guards:
            known = ", ".join(sorted(self.guards)) or "none"
            refuse(self.name, draft.path, f"expected a known guard (there are: {known}), saw {transition.guard!r}")
        if transition.guard and inspect.iscoroutinefunction(self.guards[transition.guard]):
            refuse(self.name, draft.path, f"expected a plain function as guard, {transition.guard!r} is asynchronous")
        if not descriptors and not transition.targets:
            refuse(self.name, draft.path, "expected an event or targets: without both a transition never ends")
        for descriptor in descriptors:
            if "*" in descriptor.removesuffix(".*") and descriptor != "*":
                refuse(self.name, draft.path, f"expected '*' alone or as the last part of an event, saw {descriptor!r}")
        self.transitions += 1
        return Transition(
            number=self.transitions - 1,
            source=draft.number,
            event=transition.event,
            descriptors=descriptors,
            targets=self._targets(draft, transition.targets),
            target_paths=transition.targets,
            guard=transition.guard,
            is_internal=transition.internal,
            actions=transition.actions,
            raises=transition.raises,
        )

    def _targets(self, draft: Draft, paths: tuple[str, ...]) -> tuple[int, ...]:
        """The numbers of paths that can all be active at once."""
        for path in paths:
            if path not in self.numbers:
                refuse(self.name, draft.path, f"expected the full path of a state, saw {path!r}")
        goals = tuple(self.numbers[path] for path in paths)
        for mine, other in combinations(goals, 2):
            if not self._go_together(mine, other):
                pair = f"{self.drafts[mine].path!r} and {self.drafts[other].path!r}"
                refuse(self.name, draft.path, f"expected targets in different regions of a parallel state, saw {pair}")
        return goals

    def _go_together(self, mine: int, other: int) -> bool:
        """Whether two targets lie in different regions. A history state restores all of its parent."""
        mine, other = (
            self.drafts[each].above[0] if self.drafts[each].state.kind in HISTORY_KINDS else each
            for each in (mine, other)
        )
        mine_line, other_line = ((each, *self.drafts[each].above) for each in (mine, other))
        meeting = next(each for each in mine_line if each in other_line)
        return meeting not in (mine, other) and self.drafts[meeting].state.kind == "parallel"


def _refuse_certain_loops(chart: Chart) -> None:
    """Enter each leaf by default and let it settle; where no guard is asked and there is no end, refuse."""
    for node in chart.nodes:
        if not node.is_leaf:
            continue
        try:
            settle(chart, rules.entry_at(chart, (node.number,)), {}, _cannot_tell)
        except _Undecided:
            continue
        except Refusal as refusal:
            refuse(chart.name, node.path, f"expected an end once it is entered, saw a {refusal.reason}")


class _Undecided(Exception):
    """A guard has a say, so nothing is certain."""


def _cannot_tell(guard: str) -> bool:
    raise _Undecided(guard)
