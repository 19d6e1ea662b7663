"""What would be taken, and where it would lead, without anything taking place."""

from __future__ import annotations

import pytest

from holdfast.chart import enabled_targets, events_accepted, events_leading_to, start
from holdfast.errors import InvalidInput
from tests.chart.build import chart, final, group, leaf, on, run

SHOP = chart(
    group(
        "a",
        leaf("x", on("yes ok", "b.y"), on("maybe", "b", guard="sure"), on("", "c", guard="never")),
        on=(on("done.state.a", "b"), on("stop.*", "end"), on("*", "c")),
    ),
    group("b", leaf("w", on("yes", "b.y")), leaf("y", on("next", "end"))),
    leaf("c"),
    final(),
    guards="sure never",
)
DATA = {"sure": True, "never": False}
BEGUN = start(SHOP, DATA).configuration


def test_accepted_events_are_those_of_all_active_states_that_can_be_sent() -> None:
    assert events_accepted(SHOP, BEGUN) == ("stop.*", "*", "yes", "ok", "maybe")


def test_nothing_is_accepted_at_the_end() -> None:
    assert events_accepted(SHOP, run(SHOP, "stop", data=DATA).configuration) == ()


def test_enabled_targets_are_what_a_step_would_enter() -> None:
    expected = {"stop": ("end",), "yes": ("b", "b.y"), "ok": ("b", "b.y"), "maybe": ("b", "b.w")}
    assert enabled_targets(SHOP, BEGUN, DATA) == expected


def test_a_guard_that_refuses_leaves_what_stands_behind_it() -> None:
    assert enabled_targets(SHOP, BEGUN, {**DATA, "sure": False})["maybe"] == ("c",)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("b.y", ("yes", "ok")), ("b.w", ("maybe",)), ("b", ("yes", "ok", "maybe")), ("end", ("stop",)), ("a.x", ())],
)
def test_events_that_lead_to_a_target(target: str, expected: tuple[str, ...]) -> None:
    assert events_leading_to(SHOP, BEGUN, target, DATA) == expected


def test_a_target_that_is_no_state_is_refused() -> None:
    with pytest.raises(InvalidInput, match="expected the path of a state, saw 'nowhere'"):
        events_leading_to(SHOP, BEGUN, "nowhere", DATA)
