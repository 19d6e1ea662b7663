"""The commands `diagnose`, `propose` and `eval`, for the bot's command line to register."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console

from holdfast import InvalidInput
from holdfast_sre.diagnosis.catalogue_page import page
from holdfast_sre.diagnosis.diagnose import Diagnosis, diagnose
from holdfast_sre.diagnosis.explain import Explanation, chosen, explain
from holdfast_sre.diagnosis.findings import Change, Evidence, Moment
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules import CATALOGUE, FAMILIES
from holdfast_sre.evaluation.diagnosis_view import (
    show_diagnosis,
    show_explanation,
    show_proposal,
    show_repairs,
    show_report,
)
from holdfast_sre.evaluation.evaluate import (
    JudgedRepair,
    Repair,
    RepairReport,
    Report,
    judge_repair,
    report,
    report_repairs,
)
from holdfast_sre.evaluation.judged import Judged
from holdfast_sre.evaluation.opsbench_labels import Answer, answer, read_label
from holdfast_sre.evidence.incident_folders import Case, find_cases
from holdfast_sre.evidence.manifest_files import load_folder
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.opsbench import Incident, read_incident
from holdfast_sre.repair.propose import Manifests, propose

EXIT_REFUSED = 1
EXIT_BAD_INPUT = 2

Paths = Annotated[list[Path], typer.Argument(help="An incident's folder, or a folder to walk for incidents.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line, for machines.")]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", help="Folder with the last known good manifests, any layout of YAML files.")
]
Oracle = Annotated[
    Path | None, typer.Option("--oracle", help="JSON file of known repairs, to score proposals against.")
]


class RankedLine(msgspec.Struct, frozen=True):
    """One cause in the output of `diagnose --json`."""

    root_cause: str
    fault_object: str
    rule: str
    object: str
    confidence: float
    evidence: tuple[Evidence, ...]
    victims: tuple[str, ...]
    timeline: tuple[Moment, ...]


class DiagnosisLine(msgspec.Struct, frozen=True):
    """One incident in the output of `diagnose --json`."""

    case: str
    seconds: float
    ranked: tuple[RankedLine, ...]
    unexplained: tuple[str, ...]
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


class ExplanationLine(msgspec.Struct, frozen=True):
    """The output of `explain --json`."""

    case: str
    explanation: Explanation


class ProposalLine(msgspec.Struct, frozen=True):
    """One incident in the output of `propose --json`."""

    case: str
    action: str
    reason: str
    changes: tuple[Change, ...]


class RuleLine(msgspec.Struct, frozen=True):
    """One rule in the output of `catalogue --json`."""

    rule: str
    title: str
    holds: str
    repair: str
    mending: str
    proof: str


class EvalOutput(msgspec.Struct, frozen=True):
    """The output of `eval --json`."""

    diagnosis: Report
    repair: RepairReport | None


class Examined(msgspec.Struct, frozen=True):
    """A case that was read and diagnosed, and how many seconds both took."""

    case: Case
    incident: Incident
    diagnosis: Diagnosis
    seconds: float

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The ranked causes in the layout's vocabulary."""
        return tuple(answer(self.incident, finding) for finding in self.diagnosis.ranked)


class Examination:
    """Reads and diagnoses cases one by one. One that cannot be read is told on standard error and counted."""

    def __init__(self, cases: list[Case], time_s: Callable[[], float]) -> None:
        self._cases = cases
        self._time_s = time_s
        self.unreadable = 0

    def __iter__(self) -> Iterator[Examined]:
        for case in self._cases:
            start_s = self._time_s()
            try:
                incident = read_incident(case.folder)
            except InvalidInput as error:
                self.unreadable += 1
                _complain(error)
                continue
            diagnosis = diagnose(incident.snapshot)
            yield Examined(case, incident, diagnosis, round(self._time_s() - start_s, 4))


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("diagnose")(diagnose_command)
    app.command("explain")(explain_command)
    app.command("propose")(propose_command)
    app.command("eval")(eval_command)
    app.command("catalogue")(catalogue_command)


def diagnose_command(paths: Paths, as_json: AsJson = False) -> None:
    """Rank the likely causes of incidents, each with its evidence. Labels in a folder are not read.

    Exit code 0, or 2 where a path holds no incident or one cannot be read.
    """
    console = Console()

    def tell(found: Examined) -> None:
        if not as_json:
            show_diagnosis(console, found.case.name, found.diagnosis, found.answers, seconds=found.seconds)
            return
        ranked = tuple(
            RankedLine(
                said.root_cause,
                said.fault_object,
                finding.rule,
                str(finding.object),
                finding.confidence,
                finding.evidence,
                tuple(map(str, finding.victims)),
                finding.timeline,
            )
            for said, finding in zip(found.answers, found.diagnosis.ranked, strict=True)
        )
        unexplained = tuple(map(str, found.diagnosis.unexplained))
        known = (unexplained, found.diagnosis.looked_at, found.diagnosis.missing)
        _print_json(DiagnosisLine(found.case.name, found.seconds, ranked, *known))

    _examine(paths, tell)


def explain_command(
    path: Annotated[Path, typer.Argument(help="An incident's folder.")],
    finding: Annotated[
        str,
        typer.Argument(help="Its place in the ranking, its rule, or RULE@Kind/name as `diagnose --json` tells them."),
    ] = "1",
    as_json: AsJson = False,
) -> None:
    """Explain a finding: its evidence, what it rests on, what would refute it, and what was looked at.

    Exit code 0, 1 where the incident has no such finding, or 2 where the path holds no incident or several.
    """
    told: list[bool] = []

    def tell(found: Examined) -> None:
        wanted = chosen(found.diagnosis, finding)
        told.append(wanted is not None)
        if wanted is None:
            known = ", ".join(f"{item.rule}@{item.object}" for item in found.diagnosis.ranked) or "none"
            seen = ", ".join(found.diagnosis.looked_at) or "nothing"
            _complain(
                InvalidInput(
                    f"{found.case.name}: expected one of the findings {known}, saw {finding}; looked at {seen}"
                )
            )
            return
        explanation = explain(found.incident.snapshot, found.diagnosis, wanted)
        if as_json:
            _print_json(ExplanationLine(found.case.name, explanation))
        else:
            show_explanation(Console(), found.case.name, explanation)

    _examine([path], tell, cases_max=1)
    if not all(told):
        raise typer.Exit(EXIT_REFUSED)


def propose_command(paths: Paths, as_json: AsJson = False, baseline: Baseline = None) -> None:
    """Propose a patch of the manifests for the first cause, or say why a person must decide.

    Exit code 0, or 2 where a path holds no incident or one cannot be read.
    """
    console = Console()
    last_good = _load_baseline(baseline)

    def tell(found: Examined) -> None:
        proposal = propose(found.incident.snapshot, found.diagnosis, last_good=last_good)
        if as_json:
            _print_json(ProposalLine(found.case.name, proposal.action, proposal.reason, proposal.changes))
        else:
            show_proposal(console, found.case.name, proposal)

    _examine(paths, tell)


def eval_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of labelled incidents.")],
    as_json: AsJson = False,
    baseline: Baseline = None,
    oracle: Oracle = None,
) -> None:
    """Score diagnoses against labels, and with --oracle proposals against known repairs.

    Exit code 0, or 2 where there are no labelled incidents or one cannot be read.
    """
    last_good, repairs = _load_baseline(baseline), _load_oracle(oracle)
    good_leaves = None if last_good is None else _all_leaves(last_good)
    judged: list[Judged] = []
    mended: list[JudgedRepair] = []

    def weigh(found: Examined) -> None:
        name, truth = found.case.name, read_label(found.case.folder)
        if truth is not None:
            rules = tuple(finding.rule for finding in found.diagnosis.ranked)
            confidences = tuple(finding.confidence for finding in found.diagnosis.ranked)
            judged.append(Judged(name, truth, found.answers, rules, confidences, found.seconds))
        if repairs is not None:
            proposal = propose(found.incident.snapshot, found.diagnosis, last_good=last_good)
            mended.append(judge_repair(name, proposal.changes, repairs.get(name), good_leaves))

    _examine([directory], weigh)
    if not judged:
        _fail(InvalidInput(f"{directory}: expected labels in metadata.json of the incidents, saw none"))
    output = EvalOutput(report(judged), report_repairs(mended) if mended else None)
    if as_json:
        _print_json(output)
        return
    show_report(Console(), output.diagnosis)
    if output.repair is not None:
        show_repairs(Console(), output.repair)


def catalogue_command(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="The page of the documentation.")] = False,
) -> None:
    """List the rules: what must hold for each, how it is mended, and what proves the repair."""
    if as_markdown:
        sys.stdout.write(page(FAMILIES))
        return
    for rule in CATALOGUE:
        if as_json:
            _print_json(RuleLine(rule.id, rule.title, rule.holds, rule.repair, rule.mending, rule.proof))
        else:
            sys.stdout.write(f"{rule.id:30} {rule.repair:9} {rule.title}\n")


def _examine(paths: list[Path], tell: Callable[[Examined], None], *, cases_max: int | None = None) -> None:
    try:
        cases = find_cases(paths)
    except InvalidInput as error:
        _fail(error)
    if cases_max is not None and len(cases) > cases_max:
        _fail(InvalidInput(f"{paths[0]}: expected {cases_max} incident, saw {len(cases)}; name the folder of one"))
    with closing(asyncio.new_event_loop()) as loop:  # Durations come from a loop's clock, here as everywhere.
        examination = Examination(cases, loop.time)
        for found in examination:
            tell(found)
    if examination.unreadable:
        raise typer.Exit(EXIT_BAD_INPUT)


def _load_baseline(folder: Path | None) -> Manifests | None:
    if folder is None:
        return None
    try:
        last_good = load_folder(folder)
    except InvalidInput as error:
        _fail(error)
    faults = [fault for ref, manifest in last_good.items() if (fault := shape_fault(ref, manifest))]
    if faults:
        _fail(InvalidInput(f"{folder}: expected manifests of the API's shape, saw {faults[0]}", faults=faults))
    return last_good


def _load_oracle(path: Path | None) -> dict[str, Repair] | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Repair])
    except (OSError, msgspec.DecodeError) as error:
        _fail(InvalidInput(f"{path}: expected known repairs by case as JSON, saw: {error}"))


def _all_leaves(manifests: Manifests) -> dict[str, str]:
    return {f"{ref}.{path}": text for ref, manifest in manifests.items() for path, text in leaves(manifest).items()}


def _print_json(value: msgspec.Struct) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def _complain(error: InvalidInput) -> None:
    Console(stderr=True).print(error.message, style="red", markup=False, highlight=False, soft_wrap=True)


def _fail(error: InvalidInput) -> NoReturn:
    _complain(error)
    raise typer.Exit(EXIT_BAD_INPUT)
