"""A second, naive reading of the SCXML recommendation (appendix D), to compare the step with.

Written over paths and sets, straight from the pseudo-code, slow, and sharing nothing with `holdfast.chart` but the
definitions. Where the recommendation is silent or wrong it follows the choices that the room's rules document: joins
that want a count, done events that climb through nested parallel states, and no second entry of what stayed active.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from holdfast.chart import ChartDef, StateDef, TransitionDef

Guards = dict[str, bool]


class Endless(Exception):
    """More microsteps than any finite machine of the tests takes."""


@dataclass
class Outcome:
    """What one event did, for comparison."""

    actions: list[str] = field(default_factory=list)
    exited: list[str] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    taken: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Machine:
    """An interpreter with its state inside, as the recommendation has it."""

    chart: ChartDef
    guards: Guards
    active: set[str] = field(default_factory=set)
    history: dict[str, set[str]] = field(default_factory=dict)
    is_done: bool = False

    def __post_init__(self) -> None:
        top = StateDef("", "compound", self.chart.children, self.chart.initial)
        self.states: dict[str, StateDef] = {}
        self.parent: dict[str, str] = {}
        self._index("", top)
        self.order = {path: place for place, path in enumerate(self.states)}

    def _index(self, path: str, state: StateDef) -> None:
        self.states[path] = state
        for child in state.children:
            inner = f"{path}.{child.name}" if path else child.name
            self.parent[inner] = path
            self._index(inner, child)

    # The tree.

    def kind(self, path: str) -> str:
        return self.states[path].kind

    def children(self, path: str) -> list[str]:
        mine = [inner for inner, parent in self.parent.items() if parent == path]
        return [inner for inner in mine if "history" not in self.kind(inner)]

    def ancestors(self, path: str, stop: str | None = None) -> Iterator[str]:
        while path:
            path = self.parent[path]
            if path == stop:
                return
            yield path

    def descends(self, inner: str, outer: str) -> bool:
        return outer in self.ancestors(inner)

    def in_order(self, paths: set[str]) -> list[str]:
        return sorted(paths, key=self.order.__getitem__)

    def leaves(self) -> list[str]:
        return [path for path in self.in_order(self.active) if self.kind(path) in ("atomic", "final")]

    # One event.

    def start(self) -> Outcome:
        outcome = Outcome()
        queue: list[str] = []
        to_enter: set[str] = set()
        self._descend_all(self._initial(""), "", to_enter)
        self._enter(to_enter, queue, outcome)
        self._settle(queue, outcome)
        return outcome

    def send(self, event: str) -> Outcome | None:
        """None where nothing takes the event."""
        selected = self._select(event)
        if self.is_done or not selected:
            return None
        outcome = Outcome()
        queue: list[str] = []
        self._microstep(selected, event, queue, outcome)
        self._settle(queue, outcome)
        return outcome

    def _settle(self, queue: list[str], outcome: Outcome) -> None:
        for _ in range(200):
            if self.is_done:
                return
            event = ""
            selected = self._select("")
            if not selected:
                if not queue:
                    return
                event = queue.pop(0)
                outcome.raised.append(event)
                selected = self._select(event)
            if selected:
                self._microstep(selected, event, queue, outcome)
        raise Endless

    def _select(self, event: str) -> list[tuple[str, TransitionDef]]:
        selected: list[tuple[str, TransitionDef]] = []
        for leaf in self.leaves():
            for path in [leaf, *self.ancestors(leaf)]:
                found = next((each for each in self.states[path].transitions if self._is_enabled(each, event)), None)
                if found is not None:
                    if not any(path == other and found is each for other, each in selected):
                        selected.append((path, found))
                    break
        return self._without_conflicts(selected)

    def _is_enabled(self, transition: TransitionDef, event: str) -> bool:
        if transition.guard and not self.guards[transition.guard]:
            return False
        if not event or not transition.event:
            return event == transition.event
        return any(_matches(each, event) for each in transition.event.split())

    def _without_conflicts(self, selected: list[tuple[str, TransitionDef]]) -> list[tuple[str, TransitionDef]]:
        kept: list[tuple[str, TransitionDef]] = []
        for mine in selected:
            losers = []
            for other in kept:
                if self._exit_set(*mine) & self._exit_set(*other):
                    if not self.descends(mine[0], other[0]):
                        break
                    losers.append(other)
            else:
                kept = [each for each in kept if each not in losers] + [mine]
        return kept

    def _exit_set(self, source: str, transition: TransitionDef) -> set[str]:
        if not transition.targets:
            return set()
        domain = self._domain(source, transition)
        return {path for path in self.active if self.descends(path, domain)}

    def _domain(self, source: str, transition: TransitionDef) -> str:
        goals = [goal for target in transition.targets for goal in self._effective(target)]
        if transition.internal and self.kind(source) == "compound" and all(self.descends(g, source) for g in goals):
            return source
        compounds = (path for path in self.ancestors(source) if self.kind(path) == "compound")
        return next(path for path in compounds if all(self.descends(goal, path) for goal in goals))

    def _effective(self, target: str) -> list[str]:
        if "history" not in self.kind(target):
            return [target]
        return self.in_order(self.history[target]) if target in self.history else self._initial(target)

    def _initial(self, path: str) -> list[str]:
        state = self.states[path]
        if state.initial:
            return list(state.initial)
        if "history" in state.kind:
            parent = self.parent[path]
            return self.children(parent) if self.kind(parent) == "parallel" else self._initial(parent)
        return self.children(path)[:1]

    def _microstep(
        self, selected: list[tuple[str, TransitionDef]], event: str, queue: list[str], outcome: Outcome
    ) -> None:
        domains = [self._domain(source, each) if each.targets else None for source, each in selected]
        to_exit = {path for mine in selected for path in self._exit_set(*mine)}
        leaving = self.in_order(to_exit)[::-1]
        for path in leaving:
            for inner in (inner for inner, parent in self.parent.items() if parent == path):
                if self.kind(inner) == "deep_history":
                    self.history[inner] = {leaf for leaf in self.leaves() if self.descends(leaf, path)}
                elif self.kind(inner) == "shallow_history":
                    self.history[inner] = {each for each in self.active if each and self.parent[each] == path}
        for path in leaving:
            outcome.exited.append(path)
            outcome.actions += self.states[path].exit
            queue += self.states[path].exit_raises
            self.active.discard(path)
        for source, transition in selected:
            outcome.taken.append((source, event))
            outcome.actions += transition.actions
            queue += transition.raises
        to_enter: set[str] = set()
        for (_, transition), domain in zip(selected, domains, strict=True):
            if domain is not None:
                for target in transition.targets:
                    self._descend(target, to_enter)
                for target in transition.targets:
                    for goal in self._effective(target):
                        self._ascend(goal, domain, to_enter)
        self._enter(to_enter - self.active, queue, outcome)

    def _descend_all(self, goals: list[str], around: str, to_enter: set[str]) -> None:
        for goal in goals:
            self._descend(goal, to_enter)
        for goal in goals:
            self._ascend(goal, around, to_enter)

    def _descend(self, path: str, to_enter: set[str]) -> None:
        if "history" in self.kind(path):
            self._descend_all(self._effective(path), self.parent[path], to_enter)
            return
        to_enter.add(path)
        if self.kind(path) == "compound":
            self._descend_all(self._initial(path), path, to_enter)
        elif self.kind(path) == "parallel":
            self._fill(path, to_enter)

    def _ascend(self, path: str, around: str, to_enter: set[str]) -> None:
        for outer in self.ancestors(path, around):
            to_enter.add(outer)
            if self.kind(outer) == "parallel":
                self._fill(outer, to_enter)

    def _fill(self, path: str, to_enter: set[str]) -> None:
        for child in self.children(path):
            if not any(self.descends(each, child) for each in to_enter):
                self._descend(child, to_enter)

    def _enter(self, to_enter: set[str], queue: list[str], outcome: Outcome) -> None:
        for path in self.in_order(to_enter):
            self.active.add(path)
            outcome.entered.append(path)
            outcome.actions += self.states[path].entry
            queue += self.states[path].entry_raises
            if self.kind(path) == "final":
                self._complete(path, queue)

    def _complete(self, path: str, queue: list[str]) -> None:
        region = self.parent[path]
        if not region:
            self.is_done = True
            return
        queue.append(f"done.state.{region}")
        while self.kind(outer := self.parent[region]) == "parallel":
            if sum(map(self._in_final, self.children(outer))) != self._wanted(outer):
                return
            queue.append(f"done.state.{outer}")
            region = outer

    def _in_final(self, path: str) -> bool:
        if self.kind(path) == "parallel":
            return sum(map(self._in_final, self.children(path))) >= self._wanted(path)
        return any(self.kind(child) == "final" and child in self.active for child in self.children(path))

    def _wanted(self, path: str) -> int:
        join = self.states[path].join
        regions = len(self.children(path))
        counts: dict[str, Callable[[], int]] = {"all": lambda: regions, "any": lambda: 1, "quorum": lambda: join.count}
        return counts[join.kind]()


def _matches(descriptor: str, event: str) -> bool:
    if descriptor == "*":
        return True
    if descriptor.startswith(("done.state.", "deadline.state.")) and not descriptor.endswith("*"):
        return descriptor == event
    wanted = descriptor.removesuffix(".*").removesuffix(".").split(".")
    return event.split(".")[: len(wanted)] == wanted
