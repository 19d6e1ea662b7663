"""A run's page: whole, self-contained, and unable to run what it quotes."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidInput
from holdfast_sre.durations import duration
from holdfast_sre.report.data import (
    Cause,
    Change,
    Origin,
    Proof,
    Recovery,
    RunReport,
    Said,
    Span,
    Transition,
)
from holdfast_sre.report.markup import Html, join, shown, tag, trusted
from holdfast_sre.report.page import render
from holdfast_sre.report.parts import DIFF_LINES_MAX, Scale, clock_time, diff_view

DIFF = """\
diff --git a/kite.yaml b/kite.yaml
index 1..2 100644
--- a/kite.yaml
+++ b/kite.yaml
@@ -3,3 +3,3 @@ spec:
 same: 1
--- looks like a header
+++ so does this
 last: 1
diff --git a/gone.yaml b/gone.yaml
deleted file mode 100644
--- a/gone.yaml
+++ /dev/null
@@ -1 +0,0 @@
-a: 1
\\ No newline at end of file
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>'


def report(text: str = "plain", *, svg: str = SVG) -> RunReport:
    """A report with the text in every place that a text can have."""
    return RunReport(
        title=text,
        ticket_id=text,
        workflow_id=text,
        verdict="closed",
        summary=text,
        started_s=1000.0,
        ended_s=1010.0,
        problem=text,
        facts=((text, text),),
        spans=(Span(text, 1000.0, 1004.0, note=text), Span("review.awaiting", 1004.0, 1009.0, "wait")),
        causes=(Cause(text, text, 0.96, (Proof(text, text),)), Cause(text, text, 0.2)),
        origin=Origin(text, text, 990.0, text, (text,)),
        change=Change(DIFF + "\n".join(f"+{line}" for line in text.splitlines()), text, text, text, (text,)),
        said=(Said(1009.0, text, "approve", text, text),),
        recoveries=(Recovery(1002.0, text, text, 412.0, text),),
        audit=(Transition(1000.0, "system_idle:monitoring", f"error_handling:{text}", text, text, text),),
        chart_svg=svg,
        is_verified=True,
    )


class Elements(HTMLParser):
    """Every element and attribute of a page, and whether all that was opened was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


ALLOWED = {element for element, _ in Elements(render(report())).seen}


def test_the_page_has_every_part_and_closes_what_it_opens() -> None:
    page = render(report("plain"))
    elements = Elements(page)
    assert elements.open == []
    anchors = [attributes["id"] for element, attributes in elements.seen if element == "section"]
    assert anchors == ["recovery", "timeline", "cause", "change", "decision", "path", "audit"]
    assert "412 ms" in page
    assert "The chain of digests was verified" in page


def test_the_page_forbids_itself_everything_but_its_style_and_loads_nothing() -> None:
    elements = Elements(render(report()))
    policies = [attributes["content"] for element, attributes in elements.seen if "http-equiv" in attributes]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
    assert not {"script", "link", "img", "iframe", "object"} & {element for element, _ in elements.seen}
    assert not any(
        name in ("src", "srcset", "action") or name.startswith("on") for _, each in elements.seen for name in each
    )
    links = [attributes["href"] or "" for element, attributes in elements.seen if element == "a"]
    assert links
    assert all(link.startswith("#") for link in links)


HOSTILE = st.one_of(
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "</style><script>x</script>",
            "' onmouseover='x",
            "\u202egnp.exe",
            "\x1b[31mred\x1b[0m",
            "--- a\n+++ b\n@@ -1 +1 @@\n<b>",
            "&lt;b&gt;",
            "]]>",
        ]
    ),
    st.text(max_size=40),
)


@given(HOSTILE)
def test_no_text_from_outside_becomes_markup(text: str) -> None:
    elements = Elements(render(report(text)))
    assert elements.open == []
    assert {element for element, _ in elements.seen} <= ALLOWED
    names = {name for _, attributes in elements.seen for name in attributes}
    assert not any(name.startswith("on") for name in names)


def test_signs_that_cannot_be_seen_are_spelled_out() -> None:
    assert shown("a\u202eb\x1b") == 'a<span class="unseen">U+202E</span>b<span class="unseen">U+001B</span>'
    assert "\u202e" not in render(report("\u202e"))
    assert "\x1b" not in render(report("\x1b"))
    assert "<title>[U+202E]: [U+202E]</title>" in render(report("\u202e"))


def test_a_run_without_parts_is_a_page_without_them() -> None:
    bare = RunReport("t", "T-1", "w", "running", "s", 0.0, 0.0)
    assert "<section" not in render(bare)
    assert "Under way" in render(bare)


def test_a_broken_chain_is_told_loudly() -> None:
    page = render(msgspec.structs.replace(report(), is_verified=False))
    assert 'class="alarm"' in page
    assert "was verified" not in page


@pytest.mark.parametrize("svg", ["<script>", "<svg>", "plain"])
def test_a_chart_that_is_no_svg_is_refused(svg: str) -> None:
    with pytest.raises(InvalidInput, match="as SVG"):
        render(report(svg=svg))


def test_a_diff_is_read_by_its_hunks() -> None:
    """A removed line that begins with dashes is a line, not a file."""
    text = str(diff_view(DIFF))
    assert text.count('class="file"') == 2
    assert "gone.yaml (removed)" in text
    assert '<td class="t">-- looks like a header</td>' in text
    assert '<td class="t">++ so does this</td>' in text
    assert text.count('class="added"') == 1
    assert text.count('class="removed"') == 2
    assert "index 1..2" not in text


def test_a_long_diff_is_cut_and_says_so() -> None:
    lines = DIFF_LINES_MAX + 10
    body = "\n".join(["--- a/x", "+++ b/x", f"@@ -0,0 +1,{lines} @@", *["+a"] * lines])
    text = str(diff_view(body))
    assert "13 more lines are not shown" in text
    assert text.count('class="added"') == DIFF_LINES_MAX - 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0 ms"),
        (0.412, "412 ms"),
        (1.0, "1.0 s"),
        (59.9, "59.9 s"),
        (59.96, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (9606, "2 h 40 min"),
        (90_000, "1 d 1 h"),
        (86_400 * 3, "3 d"),
    ],
)
def test_durations_are_said_in_their_two_biggest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_moments_are_utc_to_the_millisecond() -> None:
    assert clock_time(1_795_300_003.1206) == "22:26:43.121"
    assert clock_time(1_795_300_003.0, with_date=True) == "2026-11-21 22:26:43.000"


def test_hours_of_waiting_leave_room_for_the_work() -> None:
    spans = (Span("a", 0.0, 5.0), Span("b", 5.0, 10_005.0, "wait"), Span("c", 10_005.0, 10_010.0))
    scale = Scale(RunReport("t", "T", "w", "closed", "s", 0.0, 10_010.0, spans=spans))
    places = [scale.percent(at_s) for at_s in (0.0, 5.0, 10_005.0, 10_010.0)]
    assert places == pytest.approx([0.0, 32.5, 67.5, 100.0])


def test_a_short_wait_is_drawn_as_long_as_it_was() -> None:
    spans = (Span("a", 0.0, 9.0), Span("b", 9.0, 10.0, "wait"))
    scale = Scale(RunReport("t", "T", "w", "closed", "s", 0.0, 10.0, spans=spans))
    assert scale.wait_factor == 1.0
    assert scale.percent(9.0) == pytest.approx(90.0)


def test_only_the_makers_of_markup_make_markup() -> None:
    assert tag("p", "<", tag("b", ">"), class_='"') == '<p class="&quot;">&lt;<b>&gt;</b></p>'
    assert tag("meta", http_equiv="x", name=None) == '<meta http-equiv="x">'
    assert join(["<", trusted("<br>")], "&") == "&lt;&amp;<br>"
    assert isinstance(shown("a"), Html)
