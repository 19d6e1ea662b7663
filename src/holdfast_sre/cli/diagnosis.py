"""The commands `diagnose`, `explain`, `propose`, `eval` and `catalogue`, for the bot's command line to register."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from holdfast import InvalidInput
from holdfast_sre.cli.examine import (
    AsJson,
    Baseline,
    Examined,
    Namespace,
    Paths,
    complain,
    examine,
    fail_input,
    load_baseline,
    print_json,
)
from holdfast_sre.cli.given_manifests import GivenManifests
from holdfast_sre.cli.proposals import HealthyAt, ManifestsAt, moment_of, open_given, propose_command
from holdfast_sre.cli.repair_trials import eval_repairs
from holdfast_sre.diagnosis.catalogue_page import page
from holdfast_sre.diagnosis.explain import Explanation, chosen, explain
from holdfast_sre.diagnosis.findings import Evidence, Finding, Moment
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules import CATALOGUE, FAMILIES
from holdfast_sre.diagnosis.timeline import taken_at_s
from holdfast_sre.evaluation.diagnosis_view import show_diagnosis, show_explanation, show_repairs, show_report
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
from holdfast_sre.evaluation.opsbench_labels import read_label
from holdfast_sre.evidence.snapshot import Snapshot
from holdfast_sre.repair.history import moments
from holdfast_sre.repair.propose import Manifests, propose

EXIT_REFUSED = 1

Oracle = Annotated[
    Path | None, typer.Option("--oracle", help="JSON file of known repairs, to score proposals against.")
]

Repairs = Annotated[bool, typer.Option("--repairs", help="Score repairs, with drift planted in the baseline.")]
Seed = Annotated[int, typer.Option("--seed", help="With --repairs: which drift.")]
Drift = Annotated[float, typer.Option("--drift", help="With --repairs: the share of places that drift, 0 to 1.")]


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


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("diagnose")(diagnose_command)
    app.command("explain")(explain_command)
    app.command("propose")(propose_command)
    app.command("eval")(eval_command)
    app.command("catalogue")(catalogue_command)


def diagnose_command(paths: Paths, as_json: AsJson = False, namespace: Namespace = None) -> None:
    """Rank the likely causes of incidents or of what a dump shows, each with its evidence. Labels are not read.

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
        print_json(DiagnosisLine(found.case.name, found.seconds, ranked, *known))

    examine(paths, tell, namespace=namespace)


def explain_command(
    path: Annotated[Path, typer.Argument(help="An incident's folder.")],
    finding: Annotated[
        str,
        typer.Argument(help="Its place in the ranking, its rule, or RULE@Kind/name as `diagnose --json` tells them."),
    ] = "1",
    as_json: AsJson = False,
    manifests: ManifestsAt = None,
    healthy_at: HealthyAt = None,
    namespace: Namespace = None,
) -> None:
    """Explain a finding: its evidence, what it rests on, what would refute it, and what was looked at.

    With manifests that git keeps, commits stand on its line of time beside events and logs.

    Exit code 0, 1 where the incident has no such finding, or 2 where the path holds no incident or several.
    """
    told: list[bool] = []
    given, healthy_at_s = open_given(manifests), moment_of(healthy_at)

    def tell(found: Examined) -> None:
        wanted = chosen(found.diagnosis, finding)
        told.append(wanted is not None)
        if wanted is None:
            known = ", ".join(f"{item.rule}@{item.object}" for item in found.diagnosis.ranked) or "none"
            seen = ", ".join(found.diagnosis.looked_at) or "nothing"
            complain(
                InvalidInput(
                    f"{found.case.name}: expected one of the findings {known}, saw {finding}; looked at {seen}"
                )
            )
            return
        snapshot = found.incident.snapshot
        changes, missing = _history_of(wanted, given, snapshot, healthy_at_s)
        explanation = explain(snapshot, found.diagnosis, wanted, changes=changes, missing=missing)
        if as_json:
            print_json(ExplanationLine(found.case.name, explanation))
        else:
            show_explanation(Console(), found.case.name, explanation)

    declared = given.declared if given is not None else None
    examine([path], tell, namespace=namespace, declared=declared, cases_max=1)
    if not all(told):
        raise typer.Exit(EXIT_REFUSED)


def _history_of(
    finding: Finding, given: GivenManifests | None, snapshot: Snapshot, healthy_at_s: float | None
) -> tuple[tuple[Moment, ...], tuple[str, ...]]:
    """What git knows of a finding, as moments of the recording's line of time; and what is missing for that."""
    if given is None:
        return (), ("the history of the manifests: name their repository by --manifests",)
    looked = given.look_back(finding, namespace=snapshot.namespace, healthy_at_s=healthy_at_s)
    if looked is None:
        return (), () if given.repository is not None else (f"a history: git does not keep {given.folder}",)
    taken = taken_at_s(snapshot)
    if taken is None:
        return (), ("when the recording was taken: commits have no place on its line of time",)
    return moments(looked, taken), () if looked.culprit is not None else (looked.told,)


def eval_command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of labelled incidents.")],
    as_json: AsJson = False,
    baseline: Baseline = None,
    oracle: Oracle = None,
    repairs: Repairs = False,
    seed: Seed = 1,
    drift: Drift = 0.3,
) -> None:
    """Score diagnoses against labels, and with --oracle proposals against known repairs.

    With --repairs only repairs, each against a baseline in which drift was planted, and without one.

    Exit code 0, or 2 where there are no labelled incidents or one cannot be read.
    """
    last_good, known = load_baseline(baseline), _load_oracle(oracle)
    if repairs:
        eval_repairs(directory, last_good, known, seed=seed, drift=drift, as_json=as_json)
        return
    good_leaves = None if last_good is None else _all_leaves(last_good)
    judged: list[Judged] = []
    mended: list[JudgedRepair] = []

    def weigh(found: Examined) -> None:
        name, truth = found.case.name, read_label(found.case.folder)
        if truth is not None:
            rules = tuple(finding.rule for finding in found.diagnosis.ranked)
            confidences = tuple(finding.confidence for finding in found.diagnosis.ranked)
            judged.append(Judged(name, truth, found.answers, rules, confidences, found.seconds))
        if known is not None:
            proposal = propose(found.incident.snapshot, found.diagnosis, last_good=last_good)
            mended.append(judge_repair(name, proposal.changes, known.get(name), good_leaves))

    examine([directory], weigh)
    if not judged:
        fail_input(InvalidInput(f"{directory}: expected labels in metadata.json of the incidents, saw none"))
    output = EvalOutput(report(judged), report_repairs(mended) if mended else None)
    if as_json:
        print_json(output)
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
            print_json(RuleLine(rule.id, rule.title, rule.holds, rule.repair, rule.mending, rule.proof))
        else:
            sys.stdout.write(f"{rule.id:30} {rule.repair:9} {rule.title}\n")


def _load_oracle(path: Path | None) -> dict[str, Repair] | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Repair])
    except (OSError, msgspec.DecodeError) as error:
        fail_input(InvalidInput(f"{path}: expected known repairs by case as JSON, saw: {error}"))


def _all_leaves(manifests: Manifests) -> dict[str, str]:
    return {f"{ref}.{path}": text for ref, manifest in manifests.items() for path, text in leaves(manifest).items()}
