"""Questions about a configuration that change nothing: what would be taken, and where it would lead."""

from __future__ import annotations

from typing import Any

from holdfast.chart.configuration import Configuration, active_states, require_chart
from holdfast.chart.definition import DONE_PREFIX
from holdfast.chart.step import step
from holdfast.chart.tree import Chart, bits


def events_accepted(chart: Chart, configuration: Configuration) -> tuple[str, ...]:
    """The event descriptors that some active state takes, guards aside, in document order from the top down.

    Done events are left out, since nobody can send them.
    """
    require_chart(chart, configuration)
    if configuration.is_done:
        return ()
    found = {
        descriptor: None
        for number in bits(active_states(chart, configuration))
        for transition in chart.nodes[number].transitions
        for descriptor in transition.descriptors
        if not descriptor.startswith(DONE_PREFIX)
    }
    return tuple(found)


def enabled_targets(chart: Chart, configuration: Configuration, data: Any = None) -> dict[str, tuple[str, ...]]:
    """For each event that would be accepted now, guards asked with `data`, the states that it would enter.

    A descriptor such as "order.*" is tried as "order"; "*" stands for no event in particular and is left out.
    """
    found = {}
    for descriptor in events_accepted(chart, configuration):
        event = descriptor.removesuffix(".*").removesuffix(".")
        if event == "*":
            continue
        outcome = step(chart, configuration, event, data)
        if outcome.is_accepted:
            found[event] = outcome.entered
    return found


def events_leading_to(chart: Chart, configuration: Configuration, target: str, data: Any = None) -> tuple[str, ...]:
    """The events that would enter the state at path `target` now: none is invalid, several are ambiguous.

    Raises InvalidInput for a path that the chart does not have.
    """
    path = chart.node(target).path
    return tuple(event for event, entered in enabled_targets(chart, configuration, data).items() if path in entered)
