"""What is likely a mistake in a chart that has a meaning, found at every depth.

The analysis takes every event as possible and every guard as able to say yes or no, so what it reports is so under
all data; it does not find what only some data would show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from holdfast.chart import reach
from holdfast.chart.definition import DEADLINE_PREFIX, DONE_PREFIX, Join
from holdfast.chart.reach import Reach
from holdfast.chart.tree import Chart, Node, Transition, bits

FindingKind = Literal[
    "unreachable", "dead_end", "shadowed", "join_never_completes", "never_done", "unheard_done", "unheard_join",
    "unheard_timer",
    "shared_timer",
]  # fmt: skip


class Finding(NamedTuple):
    """A likely mistake: its kind, the path of the state it is about, and a sentence for people."""

    kind: FindingKind
    state: str
    text: str


def check(chart: Chart) -> tuple[Finding, ...]:
    """All findings, by state in document order; empty for a sound chart.

    unreachable: no transition leads there. dead_end: not final, and no transition at any level leaves it.
    shadowed: a transition behind others that always go first. join_never_completes: awaited, but too few regions can
    become final. never_done: `done.state.X` is awaited and X cannot be done. unheard_done: a final state ends the state
    around it, and nothing goes on from there. unheard_join: a join is declared, and nothing awaits it. unheard_timer: a
    timer's event that no transition takes. shared_timer: two states that are active together set timers of one event.
    """
    known = reach.explore(chart)
    rules: tuple[Callable[[Reach, Node], Iterator[Finding]], ...] = (
        _unreachable, _stuck, _shadowed, _never_done, _unheard_join, _timers,
    )  # fmt: skip
    return tuple(finding for node in chart.nodes[1:] for rule in rules for finding in rule(known, node))


def _unreachable(known: Reach, node: Node) -> Iterator[Finding]:
    if not known.has(node.number) and (node.parent == 0 or known.has(node.parent)):
        yield Finding("unreachable", node.path, f"no transition that can be taken leads to {node.path!r}")


def _stuck(known: Reach, node: Node) -> Iterator[Finding]:
    """A leaf that nothing leaves. Finals count when they end a state, but neither the chart nor a region's wait."""
    if not node.is_leaf or not known.has(node.number) or (node.kind == "final" and node.parent == 0):
        return
    if any(reach.leaves_behind(known, transition, node) for transition in known.live):
        return
    if node.kind == "final":
        around = known.chart.nodes[node.parent].path
        yield Finding(
            "unheard_done",
            node.path,
            f"{node.path!r} ends {around!r}, but no transition takes '{DONE_PREFIX}{around}' or leaves it otherwise",
        )
    else:
        yield Finding(
            "dead_end", node.path, f"{node.path!r} is not final, and no transition leaves it or a state around it"
        )


def _shadowed(known: Reach, node: Node) -> Iterator[Finding]:
    for transition in node.transitions:
        if transition.number in known.shadowed:
            yield Finding(
                "shadowed",
                node.path,
                f"the transition of {node.path!r} {_words(transition)} is never taken: others without a guard, "
                "before it or further inside, always go first",
            )


def _never_done(known: Reach, node: Node) -> Iterator[Finding]:
    for transition in node.transitions:
        for descriptor in transition.descriptors:
            path = descriptor.removeprefix(DONE_PREFIX)
            if not descriptor.startswith(DONE_PREFIX) or descriptor.endswith("*") or known.can_be_done(path):
                continue
            number = known.chart.numbers.get(path)
            if number is None:
                yield Finding("never_done", node.path, f"{node.path!r} waits for {descriptor!r}: no such state")
            elif known.chart.nodes[number].kind == "parallel":
                yield Finding("join_never_completes", path, _join_text(known, known.chart.nodes[number], node))
            else:
                text = f"{node.path!r} waits for {descriptor!r}, but {path!r} has no final child that can be reached"
                yield Finding("never_done", path, text)


def _join_text(known: Reach, join: Node, waiting: Node) -> str:
    regions = [known.chart.nodes[child] for child in join.children]
    endless = ", ".join(repr(region.path) for region in regions if not known.can_be_done(region.path))
    return (
        f"{waiting.path!r} waits for the join {join.path!r}, which wants {join.join_count} of {len(regions)} regions "
        f"final, and these can never be: {endless}"
    )


def _unheard_join(known: Reach, node: Node) -> Iterator[Finding]:
    if node.kind != "parallel" or node.join == Join() or not known.has(node.number):
        return
    written = (transition for other in known.chart.nodes for transition in other.transitions)
    if not any(reach.is_taken_by(known, DONE_PREFIX + node.path, transition, node) for transition in written):
        yield Finding(
            "unheard_join", node.path, f"{node.path!r} declares a join, but no transition takes its done event"
        )


def _timers(known: Reach, node: Node) -> Iterator[Finding]:
    if not known.has(node.number):
        return
    for timer in node.timers:
        if not any(reach.is_taken_by(known, timer.event, transition, node) for transition in known.live):
            what = "deadline" if timer.event.startswith(DEADLINE_PREFIX) else "timer"
            yield Finding(
                "unheard_timer", node.path, f"the {what} of {node.path!r} sends {timer.event!r}, which nothing takes"
            )
        for number in bits(known.states & ~((2 << node.number) - 1)):
            other = known.chart.nodes[number]
            if any(each.event == timer.event for each in other.timers) and reach.go_together(known.chart, node, other):
                yield Finding(
                    "shared_timer",
                    node.path,
                    f"{node.path!r} and {other.path!r} can be active together, and both set a timer of "
                    f"{timer.event!r}: the event would not tell them apart",
                )


def _words(transition: Transition) -> str:
    return f"on {transition.event!r}" if transition.event else "without an event"
