"""The three parts of a report with a drawing of their own: the timeline, the diff, the audit trail."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from holdfast_sre.durations import duration
from holdfast_sre.report.data import Kind, RunReport, Span, Transition
from holdfast_sre.report.markup import Html, join, tag

DIFF_LINES_MAX = 2_000
WAITS_SHARE_MAX = 0.35
BAR_PERCENT_MIN = 0.35
_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_SILENT = ("index ", "diff --git ", "new file mode ", "deleted file mode ", "old mode ", "new mode ")
_KINDS: dict[Kind, str] = {"work": "at work", "wait": "waiting for people", "error": "error handling"}


def clock_time(at_s: float, *, with_date: bool = False) -> str:
    """A moment to the millisecond, UTC: `14:05:03.120`, or `2026-11-21 14:05:03.120`."""
    text = datetime.fromtimestamp(round(at_s, 3), UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
    return text if with_date else text.partition(" ")[2]


def timeline(report: RunReport) -> Html:
    """Each visit of a state as a bar under a common axis; deaths of workers as a line through all of them.

    Long waits are drawn shorter, or hours of review would leave no room for the work; the legend says so.
    """
    scale = Scale(report)
    marks = [
        tag("i", style=f"left:{scale.percent(recovery.at_s):.2f}%", class_="kill", title=recovery.what)
        for recovery in report.recoveries
    ]
    rows = [_row(span, scale.percent(span.start_s), scale.percent(span.end_s)) for span in report.spans]
    used = [kind for kind in _KINDS if any(span.kind == kind for span in report.spans)]
    shorter = " (drawn shorter)" if scale.wait_factor < 1 else ""
    legend = [tag("span", tag("i", class_=kind), _KINDS[kind] + shorter * (kind == "wait")) for kind in used]
    if marks:
        legend.append(tag("span", tag("i", class_="kill"), "worker killed"))
    lane = tag("div", *marks, class_="marks", aria_hidden="true")
    axis = tag("p", tag("span", clock_time(report.started_s)), tag("span", clock_time(report.ended_s)), class_="axis")
    return join((tag("p", *legend, class_="legend"), tag("div", tag("ol", *rows), lane, class_="timeline"), axis))


class Scale:
    """From moments to places on the axis, in per cent; waits together take at most WAITS_SHARE_MAX of it."""

    def __init__(self, report: RunReport) -> None:
        self._start_s, self._end_s = report.started_s, max(report.ended_s, report.started_s + 1e-3)
        self._waits = _merged((span.start_s, span.end_s) for span in report.spans if span.kind == "wait")
        whole_s = self._end_s - self._start_s
        waits_s = sum(end - start for start, end in self._waits)
        room_s = (whole_s - waits_s) * WAITS_SHARE_MAX / (1 - WAITS_SHARE_MAX)
        self.wait_factor = min(1.0, room_s / waits_s) if waits_s and room_s else 1.0
        self._length = self._drawn(self._end_s)

    def percent(self, at_s: float) -> float:
        """The place of a moment, 0 to 100."""
        return min(100.0, max(0.0, self._drawn(at_s) / self._length * 100))

    def _drawn(self, at_s: float) -> float:
        waited_s = sum(max(0.0, min(at_s, end) - start) for start, end in self._waits)
        return at_s - self._start_s - waited_s * (1 - self.wait_factor)


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _row(span: Span, start: float, end: float) -> Html:
    width = max(end - start, BAR_PERCENT_MIN)
    left = min(start, 100 - BAR_PERCENT_MIN)
    bar = tag("span", style=f"left:{left:.2f}%;width:{width:.2f}%", class_=f"bar {span.kind}")
    note = tag("em", span.note) if span.note else Html()
    return tag(
        "li",
        tag("span", tag("code", span.state.rpartition(".")[2]), note, class_="name", title=span.state),
        tag("span", bar, class_="track"),
        tag("span", duration(span.end_s - span.start_s), class_="took"),
    )


def diff_view(diff: str) -> Html:
    """A unified diff with line numbers and colours; at most 2,000 lines of it, saying so."""
    lines = diff.splitlines()
    rows = list(_diff_rows(lines[:DIFF_LINES_MAX]))
    if len(lines) > DIFF_LINES_MAX:
        rows.append(_wide("file", f"{len(lines) - DIFF_LINES_MAX} more lines are not shown"))
    return tag("div", tag("table", tag("tbody", *rows)), class_="diff", role="region", aria_label="Diff", tabindex="0")


def _diff_rows(lines: list[str]) -> Iterator[Html]:
    """Rows by what a hunk's header promises: inside it a removed line may well begin with `--- `."""
    old, new, old_end, new_end, name = 0, 0, 0, 0, ""
    for line in lines:
        if old < old_end or new < new_end:
            if line.startswith("+"):
                yield _line("added", "", str(new), "+", line[1:])
                new += 1
            elif line.startswith("-"):
                yield _line("removed", str(old), "", "\u2212", line[1:])
                old += 1
            elif line.startswith("\\"):
                yield _wide("hunk", line)
            else:
                yield _line("same", str(old), str(new), " ", line[1:])
                old, new = old + 1, new + 1
        elif hunk := _HUNK.match(line):
            old, new = int(hunk[1]), int(hunk[3])
            old_end, new_end = old + int(hunk[2] or 1), new + int(hunk[4] or 1)
            yield _wide("hunk", line)
        elif line.startswith("--- "):
            name = line[4:].removeprefix("a/")
        elif line.startswith("+++ "):
            yield _wide("file", f"{name} (removed)" if line == "+++ /dev/null" else line[4:].removeprefix("b/"))
        elif not line.startswith(_SILENT):
            yield _wide("hunk", line)


def _line(kind: str, old: str, new: str, sign: str, text: str) -> Html:
    cells = (tag("td", old, class_="n"), tag("td", new, class_="n"), tag("td", sign, class_="s"))
    return tag("tr", *cells, tag("td", text, class_="t"), class_=kind)


def _wide(kind: str, text: str) -> Html:
    return tag("tr", tag("td", text, colspan="4"), class_=kind)


def audit_table(report: RunReport) -> Html:
    """Every transition: when, from which of the spec's states to which, by what event and whose hand."""
    names = ["#", "time", "from", "to", "event", "by"]
    has_digests = any(row.digest for row in report.audit)
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names + ["digest"] * has_digests)))
    days = {clock_time(row.at_s, with_date=True).partition(" ")[0] for row in report.audit}
    times = [clock_time(row.at_s, with_date=len(days) > 1) for row in report.audit]
    numbered = enumerate(zip(report.audit, times, strict=True), 1)
    rows = [_audit_row(number, row, time, has_digests) for number, (row, time) in numbered]
    table = tag("table", head, tag("tbody", *rows), class_="audit")
    return tag("div", table, class_="wide", role="region", aria_label="Audit trail", tabindex="0")


def _audit_row(number: int, row: Transition, time: str, has_digest: bool) -> Html:
    is_error = "error_handling" in row.to_state
    cells = [
        tag("td", str(number), class_="n"),
        tag("td", time, class_="when"),
        tag("td", _state(row.from_state)),
        tag("td", _state(row.to_state)),
        tag("td", row.trigger),
        tag("td", row.agent, class_="by"),
    ]
    if has_digest:
        cells.append(tag("td", tag("code", row.digest[:12]), class_="digest"))
    return tag("tr", *cells, class_="error" if is_error else None)


def _state(name: str) -> Html:
    """A spec name with its last part in front of the eye: main:sub: small, detailed strong."""
    above, colon, last = name.rpartition(":")
    return tag("code", tag("small", above + colon), tag("b", last)) if colon else tag("code", tag("b", last))
