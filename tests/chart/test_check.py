"""Each finding at more than one depth, and silence about sound charts."""

from __future__ import annotations

import pytest

from holdfast.chart import Join, StateDef, TimerDef, check, compile
from tests.chart.build import chart, final, group, history, leaf, on, parallel
from tests.chart.incident import definition

Findings = list[tuple[str, str]]

END = final()


def region(name: str, *, ends: bool = True) -> StateDef:
    """A region that can end, or never does."""
    return group(name, leaf("a", on("e", f"p.{name}.{'end' if ends else 'a'}")), *([END] if ends else []))


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param((leaf("a", on("e", "end")), END, leaf("b", on("e", "end"))), [("unreachable", "b")], id="top"),
        pytest.param(
            (group("a", leaf("x", on("e", "end")), group("y", leaf("q", on("e", "end")))), END),
            [("unreachable", "a.y")],
            id="only the outermost of unreachable states is told",
        ),
        pytest.param(
            (group("a", leaf("x", on("e", "end")), history()), END), [("unreachable", "a.h")], id="unused history"
        ),
        pytest.param((leaf("a", on("e", "b")), leaf("b")), [("dead_end", "b")], id="dead end at the top"),
        pytest.param(
            (group("a", leaf("x", on("e", "a.y"), on("f", "end")), leaf("y")), END), [("dead_end", "a.y")], id="nested"
        ),
        pytest.param((group("a", leaf("x"), on=(on("e", "end"),)), END), [], id="a way out further up"),
        pytest.param(
            (
                group(
                    "a", leaf("w", on("e", "a.x"), on("f", "a.end")), leaf("x"), END, on=(on("done.state.a", "end"),)
                ),
                END,
            ),
            [("dead_end", "a.x")],
            id="what ends by another child does not lead out",
        ),
        pytest.param(
            (parallel("p", group("l", leaf("x")), group("r", leaf("y", on("e", "end")))), END),
            [],
            id="another region leads out",
        ),
        pytest.param(
            (parallel("p", group("l", leaf("x")), region("r"), on=(on("done.state.p", "end"),)), END),
            [
                ("join_never_completes", "p"),
                ("dead_end", "p.l.x"),
                ("unheard_done", "p.r.end"),
                ("unreachable", "end"),
            ],
            id="a join that a stuck region keeps waiting",
        ),
        pytest.param(
            (parallel("p", region("l"), region("r"), on=(on("done.state.p", "end"),), join=Join("any")), END),
            [],
            id="a join that any region completes",
        ),
        pytest.param(
            (
                parallel(
                    "p", region("l"), region("r", ends=False), on=(on("done.state.p", "end"),), join=Join("quorum", 2)
                ),
                END,
            ),
            [("join_never_completes", "p"), ("unheard_done", "p.l.end"), ("unreachable", "end")],
            id="a quorum out of reach",
        ),
        pytest.param(
            (group("a", leaf("x", on("e", "a.end"), on("f", "end")), END), END),
            [("unheard_done", "a.end")],
            id="an outcome without an edge",
        ),
        pytest.param(
            (group("a", leaf("x", on("e", "end")), on=(on("done.state.a", "end"),)), END),
            [("never_done", "a")],
            id="a final state is missing",
        ),
        pytest.param(
            (leaf("a", on("e", "end"), on("done.state.nobody", "end")), END), [("never_done", "a")], id="a wrong path"
        ),
        pytest.param(
            (leaf("a", on("e", "end"), on("e.more", "b")), leaf("b", on("e", "end")), END),
            [("shadowed", "a"), ("unreachable", "b")],
            id="shadowed by a prefix before it",
        ),
        pytest.param((leaf("a", on("e", "end"), on("e f", "end")), END), [], id="one of two events is still free"),
        pytest.param(
            (group("a", leaf("x", on("e", "a.y")), leaf("y", on("*", "end")), on=(on("e", "end"),)), END),
            [("shadowed", "a")],
            id="shadowed by all states inside",
        ),
        pytest.param(
            (
                parallel("p", group("l", leaf("x", on("e", "p.l.x"))), group("r", leaf("y")), on=(on("e f", "end"),)),
                END,
            ),
            [],
            id="pre-empted for one of two events only",
        ),
        pytest.param(
            (
                parallel(
                    "p",
                    group("l", leaf("x", on("e", "p.l.x"))),
                    group("r", leaf("y")),
                    on=(on("e", "end"), on("f", "end")),
                ),
                END,
            ),
            [("shadowed", "p")],
            id="always pre-empted by a region",
        ),
        pytest.param(
            (
                parallel(
                    "p", group("l", leaf("x", on("e"), on("e", "p.l.x"))), group("r", leaf("y")), on=(on("e", "end"),)
                ),
                END,
            ),
            [("shadowed", "p.l.x")],
            id="a region that takes it and stays where it is pre-empts nobody",
        ),
        pytest.param(
            (
                parallel(
                    "p",
                    group("l", leaf("x", on("e.f")), on=(on("e", "p.l.x"),)),
                    group("r", leaf("y")),
                    on=(on("e", "end"),),
                ),
                END,
            ),
            [],
            id="nor one that may stay for some of the events",
        ),
        pytest.param(
            (leaf("a", on("e", "end"), timers=(TimerDef("late", 1),)), END), [("unheard_timer", "a")], id="timer"
        ),
        pytest.param(
            (group("a", leaf("x", on("late", "end")), timers=(TimerDef("late", 1),)), END), [], id="heard inside"
        ),
        pytest.param(
            (
                parallel("p", region("l"), region("r"), on=(on("done.state.p", "end"),), join=Join(deadline_s=1)),
                END,
            ),
            [("unheard_timer", "p")],
            id="deadline",
        ),
        pytest.param(
            (parallel("p", region("l"), region("r"), on=(on("quit", "end"),), join=Join("any")), END),
            [("unheard_join", "p")],
            id="a join that nobody awaits",
        ),
        pytest.param(
            (
                parallel(
                    "p",
                    *(group(name, leaf("a", on("t", "end"), timers=(TimerDef("t", 1),))) for name in "lr"),
                ),
                END,
            ),
            [("shared_timer", "p.l.a")],
            id="two timers of one event at once",
        ),
        pytest.param(
            (
                *(leaf(name, on("t", goal), timers=(TimerDef("t", 1),)) for name, goal in (("a", "b"), ("b", "end"))),
                END,
            ),
            [],
            id="one after the other",
        ),
    ],
)
def test_findings(states: tuple[StateDef, ...], expected: Findings) -> None:
    found = check(chart(*states))
    assert [(finding.kind, finding.state) for finding in found] == expected
    assert all(repr(finding.state) in finding.text for finding in found)


def test_a_transition_whose_guard_may_refuse_shadows_nothing() -> None:
    assert (
        check(chart(leaf("a", on("e", "b", guard="g"), on("e", "end")), leaf("b", on("e", "end")), END, guards="g"))
        == ()
    )


def test_a_large_sound_chart_has_no_findings() -> None:
    assert check(compile(definition())) == ()
