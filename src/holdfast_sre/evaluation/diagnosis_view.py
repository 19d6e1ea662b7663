"""Diagnoses, proposals and scores as tables for people. Text from clusters is data: escaped, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from holdfast_sre.diagnosis.diagnose import Diagnosis
from holdfast_sre.diagnosis.explain import Explanation
from holdfast_sre.diagnosis.timeline import told
from holdfast_sre.evaluation.evaluate import RepairReport, Report
from holdfast_sre.evaluation.judged import Score
from holdfast_sre.evaluation.opsbench_labels import Answer
from holdfast_sre.history.key_users import KeyUse
from holdfast_sre.history.suspects import WHY_TOLD, Suspect
from holdfast_sre.telling import tell

ROWS_MAX = 40
SUSPECTS_MAX = 5


def show_diagnosis(
    console: Console,
    case: str,
    diagnosis: Diagnosis,
    answers: Iterable[Answer],
    *,
    seconds: float,
    suspects: Sequence[Suspect | None] = (),
    missing: Iterable[str] = (),
) -> None:
    """The ranked causes with their evidence and victims, and the change to look at first where `suspects` has one for
    each; where there is no cause, what was looked at. `missing` goes beside what the diagnosis names."""
    table = Table(title=f"{escape(case)}  {seconds * 1000:.0f} ms", title_justify="left", show_lines=True)
    table.add_column("cause", no_wrap=True)
    table.add_column("evidence", overflow="fold", ratio=1)
    named = suspects or [None] * len(diagnosis.ranked)
    for finding, answer, suspect in zip(diagnosis.ranked, answers, named, strict=True):
        lines = [f"[dim]{escape(item.source)}:[/] {escape(item.text)}" for item in finding.evidence]
        if finding.victims:
            lines.append(f"[dim]explains:[/] {escape(', '.join(str(ref) for ref in finding.victims[:8]))}")
        if suspect is not None:
            lines.append(f"[yellow]suspect:[/] {escape(suspect.told)}")
        cause = f"[bold]{escape(answer.root_cause)}[/]\n{escape(answer.fault_object)}\n{finding.confidence:.2f} sure"
        table.add_row(cause, "\n".join(lines))
    if diagnosis.ranked:
        console.print(table)
    else:
        console.print(f"[bold]{escape(case)}[/]: no known fault holds now.")
        console.print(f"  looked at: {escape(', '.join(diagnosis.looked_at)) or 'nothing'}")
    if diagnosis.unexplained:
        console.print(f"  short of replicas, unexplained: {escape(', '.join(map(str, diagnosis.unexplained)))}")
    if diagnosis.missing:
        console.print(f"  missing from the record: {escape(', '.join(diagnosis.missing))}")
    for text in missing:
        console.print(f"  not known: {escape(text)}")


def show_explanation(
    console: Console, case: str, found: Explanation, suspects: Sequence[Suspect] = (), key_users: Iterable[KeyUse] = ()
) -> None:
    """A finding with its evidence, its line of time, the suspected changes, who else uses what they changed, what it
    rests on and what would refute it."""
    finding = found.finding
    heading = f"[bold]{escape(found.title)}[/]  {escape(str(finding.object))}  {finding.confidence:.2f} sure"
    console.print(f"{heading}  [dim]{escape(case)}[/]")
    parts: list[tuple[str, Iterable[str]]] = [
        ("rule", [f"{finding.rule}: {found.holds}"]),
        ("evidence", [f"{item.source}: {item.text}" for item in finding.evidence]),
        ("explains", [", ".join(str(ref) for ref in finding.victims[:8])] if finding.victims else []),
        ("line of time", told(finding.timeline)),
        ("suspect", [f"{each.told} ({WHY_TOLD[each.why]})" for each in suspects[:SUSPECTS_MAX]]),
        (
            "other suspects",
            [f"{len(suspects) - SUSPECTS_MAX} more, see --json"] if len(suspects) > SUSPECTS_MAX else [],
        ),
        ("also used by", [each.told for each in key_users]),
        ("rests on", found.rests_on),
        ("less sure without", [f"{kind}: {left:.2f}" for kind, left in found.holds_without.items()]),
        ("would refute it", found.refuted_by),
        ("rivals", found.rivals),
        ("next", [found.next_step]),
        ("proof", [found.proof]),
        ("looked at", [", ".join(found.looked_at)]),
        ("missing", found.missing[:ROWS_MAX]),
    ]
    for name, lines in parts:
        for line in lines:
            tell(console, Text(f"  {name}: ", "dim"), Text(line))


def show_report(console: Console, found: Report) -> None:
    """Scores overall, per system and per class, and the misses."""
    table = Table(title="Diagnosis", title_justify="left")
    for heading in ("", "cases", "A@1", "A@3", "object@1", "Brier", "s mean", "s max"):
        table.add_column(heading, justify="left" if not heading else "right")
    rows: list[tuple[str, Score, str | None]] = [("all", found.overall, "bold")]
    rows += [(name, value, "bold") for name, value in found.systems.items()]
    rows += [(name, value, None) for name, value in found.classes.items()]
    for name, value, style in rows:
        shares = (value.first, value.first_three, value.object_first, value.brier)
        times = (value.seconds_mean, value.seconds_max)
        cells = (*(f"{share:.2f}" for share in shares), *(f"{time:.2f}" for time in times))
        table.add_row(escape(name), str(value.cases), *cells, style=style)
    console.print(table)
    for item in found.calibration:
        console.print(
            f"  sure up to {item.upto:.1f}: {item.cases} cases, {item.confidence:.2f} sure, {item.right:.2f} right"
        )
    for name, out in found.left_out.items():
        told_of = f"A@1 {out.score.first:.2f}, A@3 {out.score.first_three:.2f}, Brier {out.score.brier:.3f}"
        console.print(f"  {escape(name)} with what was fitted on the others: {told_of}, lost {out.lost:.2f}")
    for miss in found.misses[:ROWS_MAX]:
        got = "; ".join(f"{answer.root_cause} {answer.fault_object}" for answer in miss.answers) or "nothing"
        truth = f"{miss.truth.root_cause} {miss.truth.fault_object}"
        console.print(f"  {escape(miss.case)}: expected {escape(truth)}, got {escape(got)}")


def show_repairs(console: Console, found: RepairReport) -> None:
    """Shares of the repairs, and what went wrong."""
    console.print(
        f"[bold]Repair[/]: restored {found.restored:.2f} of {found.mendable}, "
        f"{found.collateral_leaves} leaves changed beside, "
        f"rightly escalated {found.rightly_escalated:.2f} of {found.others}"
    )
    for miss in found.misses[:ROWS_MAX]:
        paths = ", ".join((miss.missed or miss.collateral)[:3])
        console.print(f"  {escape(miss.case)}: {miss.verdict}: {escape(paths)}")
