"""One event on a hierarchical, parallel chart: holdfast beside transitions and python-statemachine.

Every contestant drives the same chart through the same round of events and ends where it began. Ours also gives the
list of what was left and entered and counts visits; theirs change a live object. The facts tell what ours costs when
nothing is remembered yet, and what a trip through JSON costs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from statemachine import State, StateChart
from transitions.extensions import HierarchicalMachine

from benchmarks.harness import Comparison, compare, options, publish, seconds_per_call
from holdfast.chart import Chart, ChartDef, StateDef, TransitionDef, compile, restore, start, step

EVENTS = ("ticket", "collected", "cloned", "correlated", "scanned", "join", "weighed", "close")
"""One round: into the parallel state, two steps in each region, out of it, through a compound state, back."""


def our_chart() -> Chart:
    """The chart in our words."""
    cluster, source, decision = "analysis.cluster", "analysis.source", "decision"
    regions = (
        _line(cluster, ("collect", "collected"), ("correlate", "correlated"), ("finished", "")),
        _line(source, ("clone", "cloned"), ("scan", "scanned"), ("finished", "")),
    )
    children = (
        StateDef("idle", transitions=(TransitionDef("ticket", ("analysis",)),)),
        StateDef("analysis", "parallel", regions, transitions=(TransitionDef("join", (decision,)),)),
        StateDef(
            decision,
            "compound",
            _line(decision, ("weigh", "weighed"), ("ready", "")).children,
            transitions=(TransitionDef("close", ("idle",)),),
        ),
    )
    return compile(ChartDef("incident", 1, children))


def _line(path: str, *stations: tuple[str, str]) -> StateDef:
    """A compound state whose children follow each other: (name, the event that leads on)."""
    following = [*(f"{path}.{name}" for name, _ in stations[1:]), ""]
    children = tuple(
        StateDef(name, transitions=(TransitionDef(event, (goal,)),) if event else ())
        for (name, event), goal in zip(stations, following, strict=True)
    )
    return StateDef(path.rpartition(".")[2], "compound", children)


class PeerChart(StateChart):
    """The chart in the words of python-statemachine."""

    idle = State(initial=True)

    class analysis(State.Parallel):  # noqa: N801  the class's name is the state's
        class cluster(State.Compound):  # noqa: N801
            collect = State(initial=True)
            correlate = State()
            finished = State()
            collected = collect.to(correlate)
            correlated = correlate.to(finished)

        class source(State.Compound):  # noqa: N801
            clone = State(initial=True)
            scan = State()
            ended = State()
            cloned = clone.to(scan)
            scanned = scan.to(ended)

    class decision(State.Compound):  # noqa: N801
        weigh = State(initial=True)
        ready = State()
        weighed = weigh.to(ready)

    ticket = idle.to(analysis)
    join = analysis.to(decision)
    close = decision.to(idle)


def peer_machine() -> HierarchicalMachine:
    """The chart in the words of transitions."""
    cluster = {
        "name": "cluster",
        "initial": "collect",
        "children": ["collect", "correlate", "finished"],
        "transitions": [["collected", "collect", "correlate"], ["correlated", "correlate", "finished"]],
    }
    source = {
        "name": "source",
        "initial": "clone",
        "children": ["clone", "scan", "finished"],
        "transitions": [["cloned", "clone", "scan"], ["scanned", "scan", "finished"]],
    }
    decision = {
        "name": "decision",
        "initial": "weigh",
        "children": ["weigh", "ready"],
        "transitions": [["weighed", "weigh", "ready"]],
    }
    states = ["idle", {"name": "analysis", "parallel": [cluster, source]}, decision]
    edges = [["ticket", "idle", "analysis"], ["join", "analysis", "decision"], ["close", "decision", "idle"]]
    return HierarchicalMachine(states=states, transitions=edges, initial="idle", auto_transitions=False)


def run_holdfast(at_least_s: float) -> float:
    """Microseconds per event, ours."""
    chart = our_chart()
    configuration = start(chart).configuration
    home = configuration.leaves

    def one_round() -> None:
        nonlocal configuration
        for event in EVENTS:
            configuration = step(chart, configuration, event).configuration

    one_round()
    assert configuration.leaves == home, configuration
    return _us_per_event(one_round, at_least_s)


def run_transitions(at_least_s: float) -> float:
    """Microseconds per event, transitions."""
    machine = peer_machine()

    def one_round() -> None:
        for event in EVENTS:
            machine.trigger(event)

    one_round()
    assert machine.state == "idle", machine.state
    return _us_per_event(one_round, at_least_s)


def run_python_statemachine(at_least_s: float) -> float:
    """Microseconds per event, python-statemachine."""
    machine = PeerChart()

    def one_round() -> None:
        for event in EVENTS:
            machine.send(event)

    one_round()
    assert [state.id for state in machine.configuration] == ["idle"], machine.configuration
    return _us_per_event(one_round, at_least_s)


def _us_per_event(one_round: Callable[[], None], at_least_s: float) -> float:
    return seconds_per_call(one_round, at_least_s=at_least_s) / len(EVENTS) * 1e6


def our_facts(at_least_s: float) -> dict[str, float | str]:
    """What ours costs without its memo, and on the way to a store and back, in microseconds."""
    chart = our_chart()
    configuration = start(chart).configuration
    for event in EVENTS[:3]:
        configuration = step(chart, configuration, event).configuration
    text = configuration.to_json()

    def cold() -> None:
        chart.memo.forget()
        step(chart, configuration, "correlated")

    return {
        "a step with nothing remembered (us)": seconds_per_call(cold, at_least_s=at_least_s) * 1e6,
        "configuration to JSON (us)": seconds_per_call(configuration.to_json, at_least_s=at_least_s) * 1e6,
        "restore, all checks (us)": seconds_per_call(lambda: restore(chart, text), at_least_s=at_least_s) * 1e6,
        "compile (us)": seconds_per_call(our_chart, at_least_s=at_least_s) * 1e6,
    }


def main() -> None:
    """Measure and print."""
    chosen = options(__doc__ or "", rounds=7)
    at_least_s = 0.02 if chosen.quick else 0.3
    comparison: Comparison = compare(
        "one event on a hierarchical, parallel chart",
        {
            "holdfast": lambda: run_holdfast(at_least_s),
            "transitions": lambda: run_transitions(at_least_s),
            "python-statemachine": lambda: run_python_statemachine(at_least_s),
        },
        unit="us per event",
        better="less",
        rounds=chosen.rounds,
        facts=our_facts(at_least_s),
    )
    publish("chart", [comparison], chosen)


if __name__ == "__main__":
    sys.exit(main())
