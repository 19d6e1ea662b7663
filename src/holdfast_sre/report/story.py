"""What a run's journal tells: lines for the terminal and the report, from the public events of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from holdfast import RunHandle, Workflow, to_svg
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.flow.chart import VERDICTS
from holdfast_sre.flow.incident import Incident, called
from holdfast_sre.history.past import Suspected
from holdfast_sre.repair.tree.secret_values import hidden_values
from holdfast_sre.report import data as told

TRANSITION = "transition"
PARKED, UNPARKED = "parked", "unparked"
ERROR = "error_handling"
_VERDICTS: dict[str, told.Verdict] = {
    "system_idle~closed": "closed",
    "system_idle~rejected": "rejected",
    "system_idle~failed": "failed",
    "system_idle~escalated": "escalated",
}


class JournalRow(Protocol):
    """A committed row of a run's journal, as holdfast gives it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def body(self) -> bytes: ...
    @property
    def digest(self) -> str: ...


@dataclass(frozen=True)
class Line:
    """One row, decoded. `from_state` and `to_state` are "main:sub:detailed", empty for rows that move nothing."""

    name: str
    version: int
    at_s: float
    from_state: str
    to_state: str
    trigger: str
    agent: str
    metadata: dict[str, Any]
    digest: str

    @property
    def text(self) -> str:
        """What a row that moves nothing says: its text or lock, and its other facts."""
        facts = dict(self.metadata)
        first = str(facts.pop("text", "") or facts.pop("lock", ""))
        others = ", ".join(f"{name} {value}" for name, value in facts.items())
        return f"{first} ({others})" if first and others else first or others


def line_of(row: JournalRow) -> Line:
    """The line of a journal row."""
    body = json.loads(row.body)
    return Line(
        name=row.name,
        version=row.version,
        at_s=row.at,
        from_state=body.get("from", ""),
        to_state=body.get("to", ""),
        trigger=body.get("trigger", ""),
        agent=body.get("agent", ""),
        metadata=body.get("metadata", {}),
        digest=row.digest,
    )


def parking(line: Line) -> str:
    """What a row tells of a run that stands aside for something that is away, or goes on."""
    on = line.metadata.get("on")
    if line.name == UNPARKED:
        return f"{on} is back: goes on after {float(line.metadata.get('parked_s', 0)):.0f} s"
    return f"parked: waits for {on} ({line.metadata.get('reason', '')})"


@dataclass(frozen=True)
class Death:
    """A worker that died: when, how, where the run was, and how long until it went on."""

    at_s: float
    how: str
    state: str
    recovered_ms: float
    note: str


def report_of(
    run: RunHandle,
    lines: Sequence[Line],
    workflow: Workflow,
    *,
    deaths: Sequence[Death],
    is_verified: bool | None,
) -> told.RunReport:
    """The report of a run from its journal and data."""
    incident: Incident = run.data
    ended_s = lines[-1].at_s
    return told.RunReport(
        title=incident.title or run.ticket_id,
        ticket_id=run.ticket_id,
        workflow_id=run.id,
        verdict=_VERDICTS.get(run.outcome, "running"),
        summary=incident.outcome or f"waits in {run.state}",
        started_s=lines[0].at_s,
        ended_s=ended_s,
        problem=incident.text,
        facts=(*_facts(run, incident), *_waits(lines)),
        spans=tuple(_spans(lines)),
        causes=_causes(incident),
        origin=_origin(incident),
        change=_change(incident),
        said=tuple(_said(lines, incident)),
        recoveries=tuple(told.Recovery(d.at_s, d.how, d.state, d.recovered_ms, d.note) for d in deaths),
        audit=tuple(
            told.Transition(line.at_s, line.from_state, line.to_state, line.trigger, line.agent, line.digest)
            for line in lines
            if line.name == TRANSITION
        ),
        chart_svg=chart_svg(workflow, lines),
        is_verified=is_verified,
    )


def chart_svg(workflow: Workflow, lines: Iterable[Line]) -> str:
    """The workflow's chart with the path that was taken."""
    chart = workflow.build().chart
    named: dict[str, list[str]] = {}
    for node in chart.nodes[1:]:
        if not node.children and not node.path.endswith("._done"):
            named.setdefault(_text_of(node.path), []).append(node.path)
    taken = []
    for line in lines:
        if line.name != TRANSITION:
            continue
        for start in _paths(named, line.from_state):
            for end in _paths(named, line.to_state):
                taken += [
                    step for node in chart.nodes[1:] if _is_around(node.path, start) for step in _edges(node, end)
                ]
    last = [line.to_state for line in lines if line.name == TRANSITION][-1:]
    active = [path for text in last for path in _paths(named, text)]
    return to_svg(chart, path_taken=taken, active=active[:1])


def _edges(node: Any, end: str) -> list[Any]:
    """The transitions of a state that lead to `end` or to what is around it, as the drawing names them."""
    from_here = [each for each in node.transitions if any(_is_around(target, end) for target in each.target_paths)]
    usual = [each for each in from_here if not each.event.startswith(("/escalate", "/cancel"))]
    return [_Taken(node.path, each.event, each.target_paths) for each in usual or from_here]


@dataclass(frozen=True)
class _Taken:
    source: str
    event: str
    targets: tuple[str, ...]


def _is_around(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer + ".")


def _paths(named: dict[str, list[str]], text: str) -> list[str]:
    """The chart's leaves behind a journal text; parallel ones are joined with "|"."""
    head, _, tail = text.rpartition(":")
    texts = [f"{head}:{part}" if head else part for part in tail.split("|")]
    return [path for each in texts for path in named.get(each, [])]


def _text_of(path: str) -> str:
    return ":".join(part.partition("~")[0] for part in path.split(".") if not part.startswith("_"))


def _spans(lines: Sequence[Line]) -> Iterable[told.Span]:
    """One span per state in the order of their entry, each until the next transition leaves it."""
    rows = [line for line in lines if line.name == TRANSITION]
    for number, line in enumerate(rows):
        for state in _split(line.to_state):
            if state in _split(line.from_state):
                continue  # the end of a region inside the same state
            end = next((later.at_s for later in rows[number + 1 :] if state in _split(later.from_state)), line.at_s)
            if number + 1 < len(rows):
                yield told.Span(state.replace(":", "."), line.at_s, end, _kind(state))


def _split(text: str) -> list[str]:
    head, _, tail = text.rpartition(":")
    return [f"{head}:{part}" if head else part for part in tail.split("|")]


def _kind(state: str) -> told.Kind:
    if state.startswith(ERROR):
        return "error"
    return "wait" if state.endswith(("awaiting_review", "review_in_progress", "monitoring")) else "work"


def _facts(run: RunHandle, incident: Incident) -> tuple[tuple[str, str], ...]:
    facts = {
        "namespace": incident.namespace,
        "service": incident.service,
        "confidence": f"{incident.confidence:.2f}" if incident.cause else "",
        "chosen by": f"the model: {incident.chosen_because}" if incident.chosen_by == "model" else "",
        "pull request": f"#{incident.pull}" if incident.pull else "",
        "merged as": incident.merged[:10],
        "approved by": incident.approved_by,
        "deployment": incident.deployment,
        "validation": "proven" if incident.validation.startswith("proven") else incident.validation,
        "worked for": run.run.user,
    }
    return tuple((name, value) for name, value in facts.items() if value)


def _waits(lines: Sequence[Line]) -> Iterable[tuple[str, str]]:
    """What it stood aside for, for how long, and why."""
    for number, line in enumerate(lines):
        if line.name != PARKED:
            continue
        on, reason = line.metadata.get("on"), line.metadata.get("reason", "")
        end = next((later for later in lines[number:] if later.name == UNPARKED), None)
        how_long = "still waits" if end is None else f"{end.at_s - line.at_s:.0f} s"
        yield f"waited for {on}", f"{how_long}: {reason}"


def _causes(incident: Incident) -> tuple[told.Cause, ...]:
    first = [incident.cause] if incident.cause is not None else []
    others = [each for each in incident.findings if incident.cause is None or each != incident.cause]
    titles = {rule.id: rule.title for rule in CATALOGUE}
    return tuple(
        told.Cause(
            titles.get(finding.rule, finding.rule),
            str(finding.object),
            incident.confidence if finding is incident.cause else finding.confidence,
            tuple(told.Proof(quote.source, quote.text) for quote in finding.evidence),
            incident.suspected.get(called(finding), Suspected()).told,
        )
        for finding in (*first, *others)
    )


def _origin(incident: Incident) -> told.Origin | None:
    if incident.culprit is None:
        return None
    commit = incident.culprit.commit
    hidden = hidden_values(incident.culprit.changes)
    changes = tuple(
        hidden.masked(f"{each.object} {each.path}: {each.before} -> {each.after}") for each in incident.culprit.changes
    )
    return told.Origin(commit.revision, commit.author, commit.at_s, commit.subject, changes)


def _change(incident: Incident) -> told.Change | None:
    if not incident.diff:
        return None
    where = f"pull request #{incident.pull} from {incident.branch}"
    return told.Change(
        diff=hidden_values(incident.changes).masked(incident.diff),
        diff_hash=incident.diff_hash,
        where=where,
        reason=incident.reason,
        checks=incident.checks,
        blast=incident.blast,
        proof=incident.proof,
    )


def _said(lines: Sequence[Line], incident: Incident) -> Iterable[told.Said]:
    """The decisions at the moments at which the journal has them; the words are the run's."""
    made = [line for line in lines if line.trigger in VERDICTS and "signal" in line.metadata]
    words = [decision.text for decision in incident.decisions]
    for number, line in enumerate(made):
        text = words[number] if number < len(words) else ""  # the last one may not have been recorded yet
        yield told.Said(line.at_s, line.agent, line.trigger, text, str(line.metadata.get("about", "")))
