"""What `compile` refuses, and what it makes of a definition."""

from __future__ import annotations

import pytest

from holdfast.chart import ChartDef, Join, StateDef, TimerDef, TransitionDef, compile
from holdfast.chart.outline import DEPTH_MAX
from holdfast.errors import InvalidDefinition, InvalidInput
from tests.chart.build import chart, final, group, history, leaf, on, parallel
from tests.chart.incident import definition

TWO = (group("l", leaf("a"), leaf("b")), group("r", leaf("a"), leaf("b")))


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ((leaf("a", on("e", "b")),), "state 'a': expected the full path of a state, saw 'b'"),
        ((group("a", leaf("x", on("e", "y")), leaf("y")),), "state 'a.x': expected the full path of a state, saw 'y'"),
        ((leaf("a", on("e", "a", guard="nope")),), "expected a known guard (there are: none), saw 'nope'"),
        ((leaf("a"), leaf("a")), "state 'a': expected each name once among siblings"),
        ((leaf("a.b"),), "expected names of states without dots, spaces or '*', saw 'a.b'"),
        ((leaf("a b"),), "saw 'a b'"),
        ((leaf(""),), "saw ''"),
        ((), "the top: expected at least one child that can be active"),
        ((StateDef("a", "compound"),), "state 'a': expected at least one child"),
        ((group("a", history()),), "state 'a': expected at least one child"),
        ((StateDef("a", children=(leaf("x"),)),), "expected no children on a state of kind 'atomic', saw some"),
        ((StateDef("a", "final", transitions=(on("e", "a"),)),), "expected no transitions on a state of kind 'final'"),
        ((group("a", leaf("x"), join=Join("any")),), "expected no join on a state of kind 'compound'"),
        ((StateDef("p", "parallel", TWO, initial=("p.l.b",)),), "expected no initial on a state of kind 'parallel'"),
        ((parallel("p", *TWO, final()),), "expected regions with states inside, saw the final state 'end'"),
        ((parallel("p", *TWO, join=Join("quorum", 3)),), "expected a quorum of 1 to 2 regions, saw 3"),
        ((parallel("p", *TWO, join=Join("quorum")),), "expected a quorum of 1 to 2 regions, saw 0"),
        ((parallel("p", *TWO, join=Join("any", 1)),), "expected a count only with kind 'quorum', saw 1 with 'any'"),
        ((parallel("p", *TWO, join=Join(deadline_s=-1)),), "'deadline.state.p' after zero or more seconds, saw -1"),
        ((leaf("a", timers=(TimerDef("t", float("nan")),)),), "expected 't' after zero or more seconds, saw nan"),
        (
            (leaf("a", timers=(TimerDef("t", 1), TimerDef("t", 2))),),
            "one timer for each event, saw two for 't'",
        ),
        ((leaf("a", timers=(TimerDef("done.state.a", 1),)),), "expected a timer's event to be a name"),
        ((leaf("a", on("e", "a", raises="done.state.a")),), "expected a raised event to be a name"),
        ((leaf("a", TransitionDef("e", raises=("two words",))),), "saw 'two words'"),
        ((leaf("a", on("a.*.b", "a")),), "expected '*' alone or as the last part of an event, saw 'a.*.b'"),
        ((leaf("a", TransitionDef(guard="")),), "expected an event or targets"),
        ((leaf("z", on("e", "p.l.a", "p.l.b")), parallel("p", *TWO)), "saw 'p.l.a' and 'p.l.b'"),
        ((leaf("z", on("e", "p", "p.l.b")), parallel("p", *TWO)), "saw 'p' and 'p.l.b'"),
        ((leaf("z", on("e", "p.h", "p.l.b")), parallel("p", *TWO, history())), "saw 'p.h' and 'p.l.b'"),
        ((group("a", leaf("x"), initial=("b",)), leaf("b")), "expected the initial states inside 'a', saw 'b'"),
        ((group("a", leaf("x"), initial=("a",)),), "expected the initial states inside 'a', saw 'a'"),
        ((group("a", leaf("x"), history("h", "b")), leaf("b")), "stands for at first inside 'a', saw 'b'"),
        ((group("a", leaf("x"), history("h", "a.i"), history("i")),), "to be real states, saw the history state 'a.i'"),
        ((group("a", leaf("x"), history(), initial=("a.h",)),), "state 'a.h': expected an initial of its own"),
        ((leaf("a", on("", "b")), leaf("b", on("", "a"))), "expected an end once it is entered, saw a loop: "),
        ((leaf("a", on("", "a")),), "saw a loop: a -> a goes on"),
        ((leaf("a", on("r", "a"), entry_raises=("r",)),), "saw a loop: a -> a goes on"),
        ((group("a", final(), on=(on("done.state.a", "a"),)),), "saw a loop: a -> a goes on"),
    ],
)
def test_what_has_no_meaning_is_refused_with_its_place(states: tuple[StateDef, ...], text: str) -> None:
    with pytest.raises(InvalidDefinition) as refused:
        chart(*states)
    assert str(refused.value).startswith("chart example, ")
    assert text in str(refused.value)


def test_the_refusal_tells_machines_the_state() -> None:
    with pytest.raises(InvalidDefinition) as refused:
        chart(group("a", leaf("x", on("e", "nowhere"))))
    assert refused.value.facts == {"chart": "example", "state": "a.x"}


def test_a_loop_that_a_guard_may_end_is_not_refused() -> None:
    chart(leaf("a", on("", "b", guard="g")), leaf("b", on("", "a")), guards="g")


def test_an_asynchronous_guard_is_refused() -> None:
    async def later(data: object, event_data: object) -> bool:
        return True

    states = (StateDef("a", transitions=(TransitionDef("e", ("a",), "later"),)),)
    with pytest.raises(InvalidDefinition, match="'later' is asynchronous"):
        compile(ChartDef("example", 1, states), {"later": later})  # type: ignore[dict-item]


def test_nesting_is_bounded() -> None:
    state = leaf("x")
    for _ in range(DEPTH_MAX + 1):
        state = group("x", state)
    with pytest.raises(InvalidDefinition, match=f"at most {DEPTH_MAX} levels"):
        chart(state)


def test_a_definition_survives_json_with_its_hash() -> None:
    again = ChartDef.from_json(definition().to_json())
    assert again == definition()
    assert compile(again).hash == compile(definition()).hash


def test_any_change_of_the_definition_changes_the_hash() -> None:
    hashes = {
        chart(leaf("a", on("e", "a"))).hash,
        chart(leaf("a", on("f", "a"))).hash,
        chart(leaf("a", on("e", "a"), entry=())).hash,
        chart(leaf("a", on("e", "a"), timers=(TimerDef("t", 1),))).hash,
        compile(ChartDef("example", 2, (leaf("a", on("e", "a")),))).hash,
    }
    assert len(hashes) == 5


@pytest.mark.parametrize(
    "text", [b"{}", b'{"name": "a", "states": []}', b"[", b'{"name": "a", "children": [{"kind": "x"}]}']
)
def test_other_json_is_no_definition(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="chart definition: expected"):
        ChartDef.from_json(text)


def test_a_chart_tells_itself_in_one_line() -> None:
    built = compile(definition())
    assert repr(built) == f"Chart('incident' version 1, 47 states, {built.hash[:12]})"
    assert built.paths[:3] == ("system_idle", "system_idle.monitoring", "system_idle.ticket_detected")


def test_an_unknown_path_is_refused_with_the_top_states() -> None:
    with pytest.raises(InvalidInput, match="saw 'nope'; its top states are a, b"):
        chart(leaf("a"), leaf("b")).node("nope")
