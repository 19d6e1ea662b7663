"""Pictures: what is drawn, that nothing lies on something else, and what is marked."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import pytest
from hypothesis import HealthCheck, given, settings

from holdfast.chart import Chart, ChartDef, Join, Taken, TimerDef, compile, shown, start, step, to_mermaid, to_svg
from holdfast.chart.labels import place_labels
from holdfast.chart.layout import GRID, Box, arrange, meeting
from holdfast.chart.route import Router
from holdfast.chart.shown import edges
from holdfast.errors import InvalidInput
from tests.chart import charts
from tests.chart.build import chart, final, group, history, leaf, on, parallel
from tests.chart.incident import definition

SVG = "{http://www.w3.org/2000/svg}"
INCIDENT = compile(definition())


def parts(svg: str, kind: str) -> list[ET.Element]:
    """The elements of a style class."""
    return [each for each in ET.fromstring(svg).iter() if kind in each.get("class", "").split()]


def names(svg: str, kind: str) -> list[str]:
    """The names written on the states of a style class, those without a name left out."""
    texts = [each.find(f"{SVG}text") for each in parts(svg, kind) if "hf-edge" not in each.get("class", "")]
    return [text.text or "" for text in texts if text is not None]


def test_structural_segments_are_hidden_from_people() -> None:
    assert shown("a._both.b._end") == "a.b"
    assert shown("_all") == ""
    drawn = to_svg(INCIDENT)
    assert "_end" not in drawn
    assert "_evidence" not in drawn
    assert "_evidence" not in to_mermaid(INCIDENT)


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (chart(leaf("a", on("go", "a"))), "go"),
        (chart(leaf("a", on("go stop", "a"))), "go or stop"),
        (chart(leaf("a", on("go", "a", guard="sure")), guards="sure"), "go [sure]"),
        (chart(leaf("a", on("", "b", guard="sure")), leaf("b"), guards="sure"), "[sure]"),
        (chart(leaf("a", on("late", "b"), timers=(TimerDef("late", 172800),)), leaf("b")), "after 2d"),
        (chart(group("a", final(), on=(on("done.state.a", "b"),)), leaf("b")), "all done"),
        (chart(leaf("a", on("go", "b"), on("run", "b")), leaf("b")), "go, run"),
        (
            chart(
                parallel("p", group("r", final()), on=(on("deadline.state.p", "b"),), join=Join(deadline_s=90)),
                leaf("b"),
            ),
            "after 1m30s",
        ),
    ],
)
def test_edges_say_events_as_people_do(built: Chart, expected: str) -> None:
    assert [edge.label for edge in edges(built)] == [expected]


def test_every_state_and_edge_is_drawn_once() -> None:
    drawn = to_svg(INCIDENT)
    leaves = [path for path in INCIDENT.paths if INCIDENT.node(path).is_leaf]
    assert sorted(names(drawn, "hf-leaf")) == sorted(path.rpartition(".")[2] for path in leaves if "_end" not in path)
    assert len(parts(drawn, "hf-dot")) == 2
    assert names(drawn, "hf-history") == ["H*"]
    starts = len(parts(drawn, "hf-start"))
    assert len(parts(drawn, "hf-edge")) == len(edges(INCIDENT)) + starts


def test_a_run_is_marked_where_it_went_and_where_it_is() -> None:
    begun = start(INCIDENT)
    moved = step(INCIDENT, begun.configuration, "assigned")
    taken = (*begun.taken, *moved.taken)
    assert taken[-1] == Taken("system_idle.ticket_detected", "", ("ticket_processing",))
    failed = ["ticket_processing.deployment.deployment_failed"]
    drawn = to_svg(INCIDENT, path_taken=taken, active=moved.configuration.leaves, failed=failed)
    assert names(drawn, "hf-active") == ["ticket_processing", "ticket_acceptance", "validating_ticket"]
    assert names(drawn, "hf-failed") == ["deployment_failed"]
    assert {"system_idle", "monitoring", "ticket_detected", "validating_ticket"} <= set(names(drawn, "hf-visited"))
    assert len([each for each in parts(drawn, "hf-edge") if "hf-taken" in each.get("class", "")]) == 2


def test_a_picture_is_the_same_again() -> None:
    first = to_svg(INCIDENT, active=["system_idle.monitoring"])
    assert to_svg(compile(definition()), active=["system_idle.monitoring"]) == first


@pytest.mark.parametrize("unknown", [{"active": ["x"]}, {"failed": ["x"]}, {"path_taken": [Taken("x", "e", ())]}])
def test_an_unknown_path_is_refused(unknown: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidInput, match="expected the path of a state, saw 'x'"):
        to_svg(INCIDENT, **unknown)  # type: ignore[arg-type]


def test_names_are_written_as_text_not_as_markup() -> None:
    built = chart(leaf("<b>&", on("<go>&\"'", "<b>&")))
    assert names(to_svg(built), "hf-leaf") == ["<b>&"]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(charts.definitions())
def test_boxes_hold_their_children_and_keep_apart(random: ChartDef) -> None:
    built = charts.compiled(random)
    boxes = arrange(built, edges(built))
    assert len(boxes) == len(built.nodes)
    for number, box in boxes.items():
        if number:
            outer = boxes[built.nodes[number].parent]
            assert outer.x < box.x < box.right < outer.right
            assert outer.y < box.y < box.bottom < outer.bottom
        assert not any(side % GRID for side in (box.x, box.y, box.width, box.height))
    for mine, other in combinations(range(1, len(boxes)), 2):
        if built.nodes[mine].parent == built.nodes[other].parent:
            assert not overlap(boxes[mine], boxes[other])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(charts.definitions())
def test_edges_run_at_right_angles_around_the_leaves(random: ChartDef) -> None:
    built = charts.compiled(random)
    drawn = edges(built)
    boxes = arrange(built, drawn)
    solid = [box for number, box in boxes.items() if number and box.shape != "group"]
    router = Router(boxes)
    for edge in drawn:
        corners = router.route(edge.source, edge.target, meeting(built, edge.source, edge.target)[0])
        assert touches(corners[0], boxes[edge.source])
        assert touches(corners[-1], boxes[edge.target])
        for (x0, y0), (x1, y1) in pairwise(corners):
            assert (x0 == x1) != (y0 == y1)
            line = Box(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0), "leaf", "", 0)
            assert not any(overlap(line, box) for box in solid)


def test_words_keep_off_the_states_of_a_large_chart() -> None:
    drawn = edges(INCIDENT)
    boxes = arrange(INCIDENT, drawn)
    router = Router(boxes)
    around = {edge: meeting(INCIDENT, edge.source, edge.target)[0] for edge in drawn}
    paths = [((e.source, e.target), e.label, router.route(e.source, e.target, around[e])) for e in drawn]
    solid = [box for number, box in boxes.items() if number and box.shape != "group"]
    placed = place_labels(paths, boxes)
    assert [word.text for word in placed] == [edge.label for edge in drawn if edge.label]
    for word in placed:
        half = int(len(word.text) * 2.7)
        area = Box(int(word.x) - half, int(word.y) - 5, 2 * half, 10, "leaf", word.text, 0)
        assert not any(overlap(area, box) for box in solid), word


def test_mermaid_nests_states_and_divides_regions() -> None:
    built = chart(
        parallel("p", group("l", leaf("a", on("e", "p.l.end")), final()), group("r", leaf("b")), history()),
        leaf('z"', on("back: now", "p")),
        initial=("p",),
    )
    assert to_mermaid(built, highlight=["p.l.a"]) == (
        "stateDiagram-v2\n"
        "    [*] --> s1\n"
        '    state "p" as s1\n'
        "    state s1 {\n"
        '        state "l" as s2\n'
        "        state s2 {\n"
        "            [*] --> s3\n"
        '            state "a" as s3\n'
        '            state "end" as s4\n'
        "            s4 --> [*]\n"
        "        }\n"
        "        --\n"
        '        state "r" as s5\n'
        "        state s5 {\n"
        "            [*] --> s6\n"
        '            state "b" as s6\n'
        "        }\n"
        '        state "H" as s7\n'
        "    }\n"
        '    state "z\'" as s8\n'
        "    s3 --> s4: e\n"
        "    s8 --> s1: back#58; or now\n"
        "    classDef here fill:#1d4ed8,stroke:#1e3a8a,color:#ffffff\n"
        "    class s3 here\n"
    )


def overlap(mine: Box, other: Box) -> bool:
    """Whether two boxes share more than a line."""
    is_beside = mine.right <= other.x or other.right <= mine.x
    return not (is_beside or mine.bottom <= other.y or other.bottom <= mine.y)


def touches(point: tuple[int, int], box: Box) -> bool:
    """Whether a point lies on a box's sides."""
    x, y = point
    is_within = box.x <= x <= box.right and box.y <= y <= box.bottom
    return is_within and (x in (box.x, box.right) or y in (box.y, box.bottom))
