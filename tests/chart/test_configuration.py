"""Restoring never guesses: whatever is not legal is refused with the state's path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.chart import Chart, ChartDef, Configuration, StateDef, adopt, adopts_all, restore, start, step
from holdfast.errors import Corrupt, InvalidDefinition
from tests.chart.build import chart, final, group, history, leaf, on, parallel, run


def shop(*extra: StateDef) -> Chart:
    """A chart with both histories and a parallel state."""
    both = parallel(
        "p",
        group("l", leaf("a", on("e", "p.l.b")), leaf("b"), history("h")),
        group("r", leaf("a"), leaf("b"), history("h")),
        history("deep", is_deep=True),
        history("shallow"),
        on=(on("pause", "z"), on("finish", "end")),
    )
    return chart(both, leaf("z", on("resume", "p.deep")), final(), *extra)


def stored(built: Chart, *events: str, **changes: Any) -> bytes:
    """The JSON of a configuration after some events, with fields changed."""
    fields = json.loads(run(built, *events).configuration.to_json())
    return json.dumps({**fields, **changes}).encode()


def test_a_configuration_comes_back_as_it_was() -> None:
    built = shop()
    before = run(built, "e", "pause", "resume").configuration
    after = restore(built, before.to_json())
    assert after == before
    assert after.leaves == ("p.l.b", "p.r.a")
    assert repr(after) == "Configuration(p.l.b | p.r.a)"


def test_activity_includes_what_is_around_a_leaf_and_no_similar_name() -> None:
    configuration = start(chart(group("a", leaf("b")), leaf("ab"))).configuration
    assert [path for path in ("a", "a.b", "ab", "a.bc") if configuration.is_active(path)] == ["a", "a.b"]


@pytest.mark.parametrize(
    ("changes", "state", "text"),
    [
        ({"leaves": []}, "", "expected at least one active leaf"),
        ({"leaves": ["nope"]}, "nope", "'nope' is not a state of the chart"),
        ({"leaves": ["p"]}, "p", "expected leaves, saw 'p', which is a parallel state"),
        ({"leaves": ["p.deep"]}, "p.deep", "which is a deep_history state"),
        ({"leaves": ["p.l.a"]}, "p", "expected all regions of 'p' active, 'p.r' is not"),
        ({"leaves": ["p.l.a", "p.l.b", "p.r.a"]}, "p.l", "exactly one active child of 'p.l', saw 'p.l.a' and 'p.l.b'"),
        ({"leaves": ["p.l.a", "p.r.a", "z"]}, "", "exactly one active child at the top, saw 'p' and 'z'"),
        ({"leaves": ["p.r.a", "p.l.a"]}, "p.r.a", "expected each leaf once, in document order"),
        ({"leaves": ["p.l.a", "p.l.a", "p.r.a"]}, "p.l.a", "expected each leaf once"),
        ({"visits": {"p": 1}}, "p.l", "expected a visit number of the active state 'p.l', saw None"),
        ({"is_done": True}, "p.l.a", "expected is_done to be False at 'p.l.a', saw True"),
        ({"history": {"p": ["p.l"]}}, "p", "'p' remembers something and is not a history state"),
        ({"history": {"gone": ["p.l"]}}, "gone", "'gone' remembers something"),
        ({"history": {"p.l.h": ["z"]}}, "z", "'z', which is not a state inside 'p.l'"),
        ({"history": {"p.l.h": ["p.l.a", "p.l.b"]}}, "p.l.h", "expected 1 of the children"),
        ({"history": {"p.l.h": []}}, "p.l.h", "expected 1 of the children"),
        ({"history": {"p.shallow": ["p.l"]}}, "p.shallow", "expected 2 of the children"),
        ({"history": {"p.deep": ["p.l.a"]}}, "p", "expected all regions of 'p' active, 'p.r' is not"),
        ({"history": {"p.deep": ["p.l", "p.r"]}}, "p.deep", "expected leaves in document order"),
        ({"history": {"p.deep": ["p.r.a", "p.l.a"]}}, "p.deep", "expected leaves in document order"),
    ],
)
def test_what_is_not_legal_is_corrupt_and_named(changes: dict[str, Any], state: str, text: str) -> None:
    built = shop()
    with pytest.raises(Corrupt) as refused:
        restore(built, stored(built, **changes))
    assert text in str(refused.value)
    assert refused.value.facts["state"] == state


def test_a_visit_below_one_is_corrupt() -> None:
    built = shop()
    visits = {**run(built).configuration.visits, "z": 0}
    with pytest.raises(Corrupt, match="expected visits counted from 1, saw 0 of 'z'"):
        restore(built, stored(built, visits=visits))


def test_a_final_leaf_that_is_not_done_is_corrupt() -> None:
    built = shop()
    with pytest.raises(Corrupt, match="expected is_done to be True at 'end', saw False"):
        restore(built, stored(built, "finish", is_done=False))


@pytest.mark.parametrize("data", [b"", b"[]", b'{"leaves": "a"}', b'{"leaves": ["a"], "more": 1}'])
def test_another_shape_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt, match="configuration: expected"):
        restore(shop(), data)


def test_a_step_from_an_illegal_configuration_is_corrupt() -> None:
    built = shop()
    with pytest.raises(Corrupt, match=r"'p\.r' is not"):
        step(built, Configuration(("p.l.a",), {}, {"p": 1}, built.hash), "e")


def test_another_hash_is_not_restored_but_adopted() -> None:
    old, new = shop(), shop(leaf("extra"))
    before = run(old, "e", "pause").configuration
    with pytest.raises(InvalidDefinition, match="adopt it first") as refused:
        restore(new, before.to_json())
    assert refused.value.facts["seen"] == old.hash
    adopted = adopt(new, Configuration.from_json(before.to_json()))
    assert adopted.chart_hash == new.hash
    assert step(new, adopted, "resume").configuration.leaves == ("p.l.b", "p.r.a")


def test_adoption_puts_leaves_in_the_new_document_order() -> None:
    regions = [group(name, leaf("a")) for name in "lr"]
    before = start(chart(parallel("p", *regions))).configuration
    adopted = adopt(chart(parallel("p", *reversed(regions))), before)
    assert adopted.leaves == ("p.r.a", "p.l.a")


def test_what_the_new_chart_does_not_have_is_not_adopted() -> None:
    before = run(chart(leaf("a", on("e", "b")), leaf("b")), "e").configuration
    with pytest.raises(InvalidDefinition, match="'b' is not a state of the chart; keep that state") as refused:
        adopt(chart(leaf("a")), before)
    assert refused.value.facts["state"] == "b"


def test_adoption_keeps_the_visits_of_states_that_are_gone() -> None:
    """A state that comes back must not number a visit as one that was."""
    before = run(chart(leaf("a", on("e", "b")), leaf("b")), "e").configuration
    between = adopt(chart(leaf("b")), before)
    again = chart(leaf("a"), leaf("b", on("back", "a")))
    assert step(again, adopt(again, between), "back").configuration.visits == {"a": 2, "b": 1}
    assert restore(chart(leaf("b")), between.to_json()) == between


def test_whether_a_chart_adopts_all_of_an_older_one() -> None:
    older = ChartDef("older", 1, (leaf("a"), parallel("p", group("l", leaf("x")), group("r", leaf("y"))), leaf("b")))
    a, p, b = older.children
    more = parallel("p", group("l", leaf("w"), leaf("x")), group("r", leaf("y", on("e", "b")), final()))
    for fits in ((a, p, b), (leaf("new"), a, p, leaf("other"), b), (a, more, b)):
        assert adopts_all(chart(*fits), older)
    third = parallel("p", *p.children, group("m", leaf("z")))
    inner = group("b", leaf("inner"))
    for does_not in ((a, p), (b, p, a), (a, third, b), (a, p, inner), (a, p, final("b"))):
        assert not adopts_all(chart(*does_not), older)
