"""A run as one HTML page: self-contained, without scripts, for screen and paper, light and dark.

The page forbids itself everything but its own styles (a content security policy), and every text in it is escaped by
its type, so what a log or a ticket says stays text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from holdfast import InvalidInput
from holdfast_sre.durations import duration
from holdfast_sre.report.data import Cause, Origin, Recovery, RunReport, Said
from holdfast_sre.report.markup import Html, join, plain, tag, trusted
from holdfast_sre.report.parts import audit_table, clock_time, diff_view, timeline
from holdfast_sre.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_VERDICTS = {
    "closed": ("good", "Closed", "Repaired, deployed, proven."),
    "failed": ("bad", "Failed", "The repair did not hold and was taken back."),
    "rejected": ("calm", "Rejected", "Nothing was changed."),
    "escalated": ("warn", "Escalated", "A person has to go on from here."),
    "running": ("calm", "Under way", "This run has not ended yet."),
}


def render(report: RunReport) -> str:
    """The page's text. Raises InvalidInput where the chart is no SVG."""
    sections: tuple[tuple[str, str, Callable[[RunReport], Html | None]], ...] = (
        ("recovery", "Killed, and recovered", _recoveries),
        ("timeline", "What happened when", _timeline),
        ("cause", "Why it broke", _cause),
        ("change", "What was changed", _change),
        ("decision", "Who decided", _decision),
        ("path", "The way through the chart", _chart),
        ("audit", "Audit trail", _audit),
    )
    made = [(anchor, title, body) for anchor, title, make in sections if (body := make(report)) is not None]
    main = [tag("section", tag("h2", title), body, id=anchor) for anchor, title, body in made]
    links = [tag("a", title, href=f"#{anchor}") for anchor, title, _ in made]
    page = tag(
        "html",
        _head(report),
        tag("body", _header(report), tag("nav", *links, aria_label="Parts"), tag("main", *main), _footer(report)),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def _head(report: RunReport) -> Html:
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", plain(f"{report.ticket_id}: {report.title}")),
        tag("style", trusted(STYLE)),
    )


def _header(report: RunReport) -> Html:
    mood, word, meaning = _VERDICTS[report.verdict]
    badge = tag(
        "p", tag("span", word, class_=f"badge {mood}"), tag("span", meaning, class_="meaning"), class_="verdict"
    )
    problem = tag("blockquote", report.problem.strip()) if report.problem.strip() else Html()
    return tag(
        "header",
        tag("p", f"Incident {report.ticket_id}", class_="eyebrow"),
        tag("h1", report.title),
        badge,
        tag("p", report.summary, class_="summary"),
        _tiles(report),
        problem,
        _facts(report.facts),
        class_=mood,
    )


def _tiles(report: RunReport) -> Html:
    people_s = sum(span.end_s - span.start_s for span in report.spans if span.kind == "wait")
    whole_s = report.ended_s - report.started_s
    tiles = [("from ticket to end", duration(whole_s)), ("at work", duration(max(0.0, whole_s - people_s)))]
    if people_s:
        tiles.append(("waiting for people", duration(people_s)))
    if report.audit:
        tiles.append(("transitions on record", str(len(report.audit))))
    if report.recoveries:
        worst_ms = max(recovery.recovered_ms for recovery in report.recoveries)
        tiles.append(("to recover from a kill", duration(worst_ms / 1000)))
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in tiles), class_="tiles")


def _facts(facts: Iterable[tuple[str, str]]) -> Html:
    rows = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("dl", *rows, class_="facts") if rows else Html()


def _recoveries(report: RunReport) -> Html | None:
    return join(_recovery(recovery) for recovery in report.recoveries) if report.recoveries else None


def _recovery(recovery: Recovery) -> Html:
    told = (
        tag(
            "p",
            tag("strong", recovery.what),
            " in ",
            tag("code", recovery.state),
            " at ",
            clock_time(recovery.at_s),
            ".",
        ),
        tag("p", recovery.note) if recovery.note else Html(),
    )
    figure = tag(
        "p", tag("b", duration(recovery.recovered_ms / 1000)), tag("span", "until it went on"), class_="figure"
    )
    return tag("div", figure, tag("div", *told), class_="card recovered")


def _timeline(report: RunReport) -> Html | None:
    return timeline(report) if report.spans else None


def _cause(report: RunReport) -> Html | None:
    if not report.causes:
        return None
    first, others = report.causes[0], report.causes[1:]
    parts = [_finding(first, "card cause")]
    if report.origin:
        parts.append(_origin(report.origin))
    if others:
        parts += [tag("h3", "Also considered"), *(_finding(other, "card minor") for other in others)]
    return join(parts)


def _finding(cause: Cause, kind: str) -> Html:
    percent = f"{min(99, round(cause.confidence * 100))} %"
    bar = tag("span", tag("i", style=f"width:{max(1, min(99, round(cause.confidence * 100)))}%"), class_="bar")
    evidence = [tag("li", tag("q", proof.text), tag("cite", proof.source)) for proof in cause.evidence]
    return tag(
        "div",
        tag("h3", cause.title),
        tag(
            "p",
            tag("code", cause.object),
            tag("span", "confidence ", percent, class_="confidence"),
            bar,
            class_="about",
        ),
        tag("ul", *evidence, class_="evidence") if evidence else Html(),
        *(tag("p", line, class_="quiet") for line in cause.suspected),
        class_=kind,
    )


def _origin(origin: Origin) -> Html:
    when = datetime.fromtimestamp(origin.at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    changes = [tag("li", tag("code", change)) for change in origin.changes]
    return tag(
        "div",
        tag("h3", "Since this commit"),
        tag("p", tag("strong", origin.subject)),
        tag("p", tag("code", origin.revision[:12]), f" by {origin.author}, {when}", class_="quiet"),
        tag("ul", *changes, class_="plain") if changes else Html(),
        class_="card origin",
    )


def _change(report: RunReport) -> Html | None:
    change = report.change
    if change is None:
        return None
    parts = [tag("p", change.reason)] if change.reason else []
    if change.where:
        parts.append(tag("p", change.where, class_="quiet"))
    parts.append(diff_view(change.diff))
    parts.append(
        tag("p", "sha256 of this diff, which the approval names: ", tag("code", change.diff_hash), class_="quiet")
    )
    if change.blast:
        parts.append(tag("p", tag("b", "Blast radius: "), change.blast))
    if change.proof:
        parts.append(tag("p", "Proven before it was offered:", class_="quiet"))
        parts.append(tag("ul", *(tag("li", proof) for proof in change.proof), class_="checks"))
    if change.checks:
        parts.append(tag("ul", *(tag("li", check) for check in change.checks), class_="checks"))
    return join(parts)


def _decision(report: RunReport) -> Html | None:
    return tag("ol", *(_said(said) for said in report.said), class_="said") if report.said else None


def _said(said: Said) -> Html:
    words = {"approve": "approved", "request_changes": "asked for changes", "reject": "rejected"}
    about = [" diff ", tag("code", said.diff_hash[:12])] if said.diff_hash else []
    head = tag(
        "p", tag("strong", said.by), " ", words.get(said.verdict, said.verdict), *about, ", ", clock_time(said.at_s)
    )
    text = tag("blockquote", said.text) if said.text.strip() else Html()
    mood = {"approve": "good", "request_changes": "warn", "reject": "bad"}.get(said.verdict, "calm")
    return tag("li", head, text, class_=mood)


def _chart(report: RunReport) -> Html | None:
    svg = report.chart_svg.strip()
    if not svg:
        return None
    if not svg.startswith("<svg") or not svg.endswith("</svg>"):
        raise InvalidInput(f"report: expected the chart as SVG, saw {svg[:40]!r}")
    return tag(
        "figure", trusted(svg), tag("figcaption", "States and edges that this run took are marked."), class_="paper"
    )


def _audit(report: RunReport) -> Html | None:
    if not report.audit:
        return None
    told = {True: "The chain of digests was verified: no line was changed since it was written.", False: ""}
    if report.is_verified is False:
        warning = tag(
            "p", "The chain of digests is broken: this trail was changed after it was written.", class_="alarm"
        )
        return join((warning, audit_table(report)))
    note = tag("p", told[bool(report.is_verified)], class_="quiet") if report.is_verified else Html()
    return join((note, audit_table(report)))


def _footer(report: RunReport) -> Html:
    return tag(
        "footer",
        tag("p", "Workflow ", tag("code", report.workflow_id), f", {clock_time(report.started_s, with_date=True)}"),
        tag("p", "Times are UTC. Written by holdfast-sre."),
    )
