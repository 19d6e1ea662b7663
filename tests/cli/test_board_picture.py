"""The picture of a board: well-formed, no box on another, no edge through a box, and blame where it belongs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.documents.breakers import dependency_lines
from holdfast.cli.drawing.board_picture import BLAME, BOX_H, BOX_W, svg_of
from holdfast.resilience.quorum import Node, Statement, Word
from holdfast.workflow.board.postings import Postings

SVG = "{http://www.w3.org/2000/svg}"
ILL = Word("open", "failed: 5 of 5 <calls>", 100.0, 100.0, until=140.0)


def drawn(nodes: tuple[Node, ...], words: Mapping[str, Word]) -> Xml.Element:
    said = Statement("a", "h", 1, 120.0, nodes, dict(words))
    seen = Postings({"a": said}, living=frozenset({"a"}))
    return Xml.fromstring(svg_of(dependency_lines(seen, now=120.0)))


def boxes(picture: Xml.Element) -> list[tuple[float, float]]:
    found = [group.find(f"{SVG}rect") for group in picture.iter(f"{SVG}g")]
    return [(float(each.attrib["x"]), float(each.attrib["y"])) for each in found if each is not None]


def edges(picture: Xml.Element) -> list[Xml.Element]:
    return [each for each in picture.iter(f"{SVG}path") if each.attrib["fill"] == "none"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Node, ...]:
    names = [f"d{number}" for number in range(draw(st.integers(0, 9)))]
    made = []
    for number, name in enumerate(names):
        needs = draw(st.sets(st.sampled_from(names[:number]), max_size=3)) if number else set()
        wants = draw(st.sets(st.sampled_from(names), max_size=2)) - needs - {name}
        made.append(Node(name, "http", tuple(sorted(needs)), tuple(sorted(wants))))
    return tuple(made)


@given(graphs(), st.sets(st.integers(0, 8)))
def test_no_box_lies_on_another_and_no_edge_goes_through_one(nodes: tuple[Node, ...], ill: set[int]) -> None:
    picture = drawn(nodes, {f"d{number}": ILL for number in ill if number < len(nodes)})
    places = boxes(picture)
    assert len(places) == len(nodes)
    for number, (x, y) in enumerate(places):
        assert 0 <= x <= float(picture.attrib["width"]) - BOX_W
        assert 0 <= y <= float(picture.attrib["height"]) - BOX_H
        assert all(abs(x - x2) >= BOX_W or abs(y - y2) >= BOX_H for x2, y2 in places[:number])
    assert len(edges(picture)) == sum(len(node.needs) + len(node.wants) for node in nodes)
    for edge in edges(picture):
        for at, below in re.findall(r"([\d.]+) ([\d.]+) V", edge.attrib["d"]):  # where it passes a row
            inside = [x for x, y in places if y == float(below) and x < float(at) < x + BOX_W]
            assert inside == []


def test_the_way_from_who_is_blocked_ends_at_the_root() -> None:
    nodes = (
        Node("llm", "llm"),
        Node("db", "database"),
        Node("triage", "agent", needs=("llm",)),
        Node("supervisor", "agent", needs=("triage", "db")),
    )
    picture = drawn(nodes, {"llm": ILL})
    assert sum(edge.attrib["stroke"] == BLAME for edge in edges(picture)) == 2
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    assert texts.count("blocked by llm") == 2
    assert "open, said by 1 of 1" in texts
    titles = [title.text for title in picture.iter(f"{SVG}title")]
    assert "llm: failed: 5 of 5 <calls>" in titles


def test_what_comes_back_says_how_much_it_takes() -> None:
    ramp = Word("closed", "probes succeeded", 110.0, 110.0, until=130.0, ramps_from=0.1)
    texts = [text.text for text in drawn((Node("llm", "llm"),), {"llm": ramp}).iter(f"{SVG}text")]
    assert "takes 55% of its calls" in texts
