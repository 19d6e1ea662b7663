"""What holds for every chart, every event and every answer of the guards."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Set

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import event as seen
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.chart import (
    Chart,
    ChartDef,
    Configuration,
    StateDef,
    Step,
    Timer,
    accepts_timer,
    adopt,
    adopts_all,
    check,
    compile,
    enabled_targets,
    events_accepted,
    reach,
    restore,
    start,
    step,
)
from holdfast.errors import InvalidDefinition, Rejected
from tests.chart import charts, oracle

Walk = list[tuple[str, dict[str, bool]]]
ALL_NO = dict.fromkeys(charts.GUARDS, False)

relaxed = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def walked(definition: ChartDef, walk: Walk) -> tuple[Chart, list[Step]]:
    """The chart and the steps of a walk from its start; no steps where a loop of guards keeps it from starting."""
    chart = charts.compiled(definition)
    try:
        steps = [start(chart, ALL_NO)]
    except Rejected:
        return chart, []
    for event, answers in walk:
        steps.append(step(chart, steps[-1].configuration, event, answers))
    return chart, steps


@relaxed
@given(charts.definitions(), charts.walks())
def test_the_step_agrees_with_a_naive_reading_of_the_recommendation(definition: ChartDef, walk: Walk) -> None:
    """Two implementations, one over bits and a memo, one over sets: the same states, orders, actions and events."""
    chart = charts.compiled(definition)
    machine = oracle.Machine(definition, ALL_NO)
    try:
        theirs = machine.start()
    except oracle.Endless:
        with pytest.raises(Rejected, match="loop: "):
            start(chart, ALL_NO)
        return
    ours = start(chart, ALL_NO)
    _assert_same(ours, theirs, machine)
    for event, answers in walk:
        before = copy.deepcopy(machine)
        machine.guards = answers
        try:
            outcome = machine.send(event)
        except oracle.Endless:
            ours = step(chart, ours.configuration, event, answers)
            assert ours.reason.startswith("loop: ")
            machine = before
            continue
        ours = step(chart, ours.configuration, event, answers)
        assert ours.is_accepted == (outcome is not None)
        if outcome is not None:
            _assert_same(ours, outcome, machine)


def _assert_same(ours: Step, theirs: oracle.Outcome, machine: oracle.Machine) -> None:
    assert list(ours.configuration.leaves) == machine.leaves()
    assert {path: set(seen) for path, seen in ours.configuration.history.items()} == machine.history
    assert ours.configuration.is_done == machine.is_done
    assert list(ours.entered) == theirs.entered
    assert list(ours.exited) == theirs.exited
    assert list(ours.actions) == theirs.actions
    assert list(ours.raised) == theirs.raised
    assert [(taken.source, taken.event) for taken in ours.taken] == theirs.taken


@relaxed
@given(charts.definitions(), charts.walks())
def test_every_configuration_is_legal(definition: ChartDef, walk: Walk) -> None:
    """One child of each active compound state, all regions of each parallel one; and `restore` agrees."""
    chart, steps = walked(definition, walk)
    machine = oracle.Machine(definition, {})
    for each in steps:
        leaves = each.configuration.leaves
        active = {"", *leaves} | {outer for leaf in leaves for outer in machine.ancestors(leaf)}
        for path in active:
            inside = [child for child in machine.children(path) if child in active]
            wanted = {"compound": 1, "parallel": len(machine.children(path))}.get(machine.kind(path), 0)
            assert len(inside) == wanted, path
        assert restore(chart, each.configuration.to_json()) == each.configuration


@relaxed
@given(charts.definitions(), charts.walks())
def test_a_step_is_the_same_again_and_leaves_its_inputs_as_they_were(definition: ChartDef, walk: Walk) -> None:
    """Again with the memo, after it forgot everything, and in a chart compiled anew."""
    chart, steps = walked(definition, walk)
    twin = compile(ChartDef.from_json(definition.to_json()), charts.GUARDS)
    assert twin.hash == chart.hash
    for (event, answers), before, after in zip(walk, steps, steps[1:], strict=False):
        copied, answers_copied = copy.deepcopy(before.configuration), dict(answers)
        assert step(chart, before.configuration, event, answers) == after
        chart.memo.forget()
        assert step(chart, before.configuration, event, answers) == after
        assert step(twin, before.configuration, event, answers) == after
        assert (before.configuration, answers) == (copied, answers_copied)


@relaxed
@given(charts.definitions(), charts.walks())
def test_a_trip_through_json_after_any_step_has_the_same_future(definition: ChartDef, walk: Walk) -> None:
    chart, steps = walked(definition, walk)
    for place in range(len(steps)):
        configuration = restore(chart, steps[place].configuration.to_json())
        for (event, answers), expected in zip(walk[place:], steps[place + 1 :], strict=True):
            following = step(chart, configuration, event, answers)
            assert following == expected
            configuration = following.configuration


@relaxed
@given(charts.definitions(), charts.walks())
def test_a_refused_event_changes_nothing_and_says_why(definition: ChartDef, walk: Walk) -> None:
    _, steps = walked(definition, walk)
    for before, after in itertools.pairwise(steps):
        if after.is_accepted:
            assert after.taken
            assert not after.reason
        else:
            assert after.configuration is before.configuration
            assert after == Step(before.configuration, "refused", after.reason)
            assert after.reason


@relaxed
@given(charts.definitions(), charts.walks())
def test_visits_count_entries_and_timers_follow_them(definition: ChartDef, walk: Walk) -> None:
    """Setting and dropping what the steps say leaves exactly the timers of the active states' current visits."""
    chart, steps = walked(definition, walk)
    live: dict[tuple[str, str], Timer] = {}
    visits: dict[str, int] = {}
    for each in steps:
        for state, event, visit in each.timers_dropped:
            assert live.pop((state, event)).visit == visit
        for timer in each.timers_set:
            assert live.setdefault((timer.state, timer.event), timer) is timer
        for path in each.entered:
            visits[path] = visits.get(path, 0) + 1
        assert each.configuration.visits == visits
        assert all(accepts_timer(each.configuration, timer) for timer in live.values())
        expected = [
            (node.path, timer.event)
            for node in chart.nodes
            for timer in node.timers
            if each.configuration.is_active(node.path)
        ]
        assert sorted(live) == sorted(expected)


@relaxed
@given(charts.definitions(), charts.walks())
def test_findings_are_never_refuted_by_a_walk(definition: ChartDef, walk: Walk) -> None:
    """What is called unreachable is not entered, a dead end not left, and what is never done raises nothing."""
    chart, steps = walked(definition, walk)
    findings = {kind: {each.state for each in check(chart) if each.kind == kind} for kind in FINDINGS}
    for each in steps:
        assert not set(each.entered) & findings["unreachable"]
        assert not set(each.exited) & (findings["dead_end"] | findings["unheard_done"])
        never = {f"done.state.{path}" for path in findings["join_never_completes"] | findings["never_done"]}
        assert not set(each.raised) & never


FINDINGS = ("unreachable", "dead_end", "unheard_done", "join_never_completes", "never_done")


@relaxed
@given(charts.definitions(), charts.walks())
def test_taking_out_shadowed_transitions_changes_no_walk(definition: ChartDef, walk: Walk) -> None:
    chart, steps = walked(definition, walk)
    shadowed = reach.explore(chart).shadowed
    assert len(shadowed) == sum(each.kind == "shadowed" for each in check(chart))
    if not shadowed or not steps:
        return
    numbers = itertools.count()
    children = tuple(_without(state, shadowed, numbers) for state in definition.children)
    slim, slim_steps = walked(replace(definition, children=children), walk)
    assert slim.hash != chart.hash
    for mine, other in zip(steps, slim_steps, strict=True):
        assert mine.configuration.leaves == other.configuration.leaves
        assert (mine.outcome, mine.actions, mine.taken) == (other.outcome, other.actions, other.taken)


def _without(state: StateDef, shadowed: Set[int], numbers: Iterator[int]) -> StateDef:
    """The state without the transitions of these numbers, which count in document order."""
    kept = tuple(each for each in state.transitions if next(numbers) not in shadowed)
    return replace(
        state, transitions=kept, children=tuple(_without(child, shadowed, numbers) for child in state.children)
    )


@relaxed
@given(charts.definitions(), charts.walks())
def test_what_is_said_to_be_possible_is_possible(definition: ChartDef, walk: Walk) -> None:
    """An event of the alphabet is unhandled exactly where no listed descriptor takes it; targets come true."""
    chart, steps = walked(definition, walk)
    for configuration in _configurations(steps):
        accepted = events_accepted(chart, configuration)
        for event in charts.EVENTS:
            outcome = step(chart, configuration, event, ALL_NO)
            listed = any(each in ("*", event, event.split(".")[0], f"{event.split('.')[0]}.*") for each in accepted)
            assert listed or outcome.reason in ("unhandled", "final")
            assert not (listed and outcome.reason == "unhandled")
        for event, entered in enabled_targets(chart, configuration, ALL_NO).items():
            assert step(chart, configuration, event, ALL_NO).entered == entered


def _configurations(steps: list[Step]) -> list[Configuration]:
    """The last few different configurations of a walk."""
    return list({each.configuration.leaves: each.configuration for each in steps}.values())[-3:]


@st.composite
def redrawn(draw: st.DrawFn, states: tuple[StateDef, ...]) -> tuple[StateDef, ...]:
    """The same tree without its transitions, changed here and there: another state, one gone, one of another kind, all
    turned round."""
    changed = [StateDef(state.name, state.kind, draw(redrawn(state.children))) for state in states]
    match draw(st.sampled_from(("", "", "", "", "more", "gone", "kind", "turned"))):
        case "more":
            changed.insert(draw(st.integers(0, len(changed))), StateDef("more", "compound", (StateDef("inner"),)))
        case "gone":
            changed = changed[1:]
        case "kind" if changed and not changed[0].children:
            changed[0] = StateDef(changed[0].name, "compound", (StateDef("inner"),))
        case "turned":
            changed.reverse()
    return tuple(changed)


@relaxed
@given(charts.definitions(), charts.walks(), st.data())
def test_a_chart_that_adopts_all_of_an_older_one_adopts_each_of_its_configurations(
    older: ChartDef, walk: Walk, data: st.DataObject
) -> None:
    _, steps = walked(older, walk)
    try:
        newer = compile(ChartDef("random", 1, data.draw(redrawn(older.children))))
    except InvalidDefinition:
        assume(False)
    is_sure = adopts_all(newer, older)
    seen("adopts all" if is_sure else "depends on the configuration")
    for each in steps if is_sure else []:
        assert adopt(newer, each.configuration).chart_hash == newer.hash
