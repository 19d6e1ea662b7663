"""What people see of a chart: names without structure, edges with their words.

A path segment that begins with "_" is structure: it is needed by the rules and hidden from people. What follows a
"~" tells apart states of one name: `idle~closed` shows as `idle`. An event that begins with "/" is machinery; people
are told its last word, and nothing where that is "done".
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.chart.definition import DEADLINE_PREFIX, DONE_PREFIX
from holdfast.chart.tree import Chart, Node, Transition
from holdfast.clock import format_duration


class Edge(NamedTuple):
    """A transition as it is drawn, once for each target: numbers of states, and the words beside the line."""

    source: int
    target: int
    label: str
    transitions: tuple[Transition, ...]


def shown(path: str) -> str:
    """The path as people see it: "a._both.b" is "a.b", "idle~closed" is "idle"."""
    if "_" not in path and "~" not in path:
        return path
    return ".".join(segment.partition("~")[0] for segment in path.split(".") if not segment.startswith("_"))


def label(node: Node) -> str:
    """The name that a diagram writes on a state; empty for a structural one."""
    return "" if node.name.startswith("_") else node.name


def edges(chart: Chart) -> tuple[Edge, ...]:
    """What there is to draw between states, by source and target; transitions without targets are not drawn."""
    found: dict[tuple[int, int], list[Transition]] = {}
    for node in chart.nodes:
        for transition in node.transitions:
            for target in transition.targets:
                found.setdefault((node.number, target), []).append(transition)
    return tuple(
        Edge(source, target, ", ".join(filter(None, dict.fromkeys(words(chart, each) for each in group))), tuple(group))
        for (source, target), group in found.items()
    )


def words(chart: Chart, transition: Transition) -> str:
    """An edge's words: its events as people say them, timers as durations, and the guard in brackets."""
    source = chart.nodes[transition.source]
    after = {timer.event: f"after {format_duration(timer.after_s)}" for timer in source.timers}
    said = []
    for descriptor in transition.descriptors:
        if descriptor in after:
            said.append(after[descriptor])
        elif descriptor.startswith(DONE_PREFIX):
            said.append("all done" if descriptor == DONE_PREFIX + source.path else f"{descriptor} done")
        elif descriptor.startswith("/"):
            said.append(descriptor.rpartition("/")[2].removesuffix("done"))
        else:
            said.append(descriptor.removeprefix(DEADLINE_PREFIX))
    guard = f"[{transition.guard}]" if transition.guard else ""
    return " ".join(filter(None, (" or ".join(filter(None, dict.fromkeys(said))), guard)))
