"""The commands `diagnose`, `explain`, `propose`, `eval` and `catalogue`, for the bot's command line to register."""

from __future__ import annotations

import sys
from collections.abc import Sequence
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
from holdfast_sre.cli.given_past import open_past
from holdfast_sre.cli.given_sources import SourcesAt
from holdfast_sre.cli.proposals import HealthyAt, ManifestsAt, Releases, propose_command
from holdfast_sre.cli.repair_trials import eval_repairs
from holdfast_sre.cli.terminal import console_on
from holdfast_sre.diagnosis.catalogue_page import page
from holdfast_sre.diagnosis.explain import Explanation, chosen, explain
from holdfast_sre.diagnosis.findings import Evidence, Moment
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules import CATALOGUE, FAMILIES
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
from holdfast_sre.history.key_users import KeyUse
from holdfast_sre.history.past import Past
from holdfast_sre.history.sources import blamed_services
from holdfast_sre.history.suspects import Suspect, nearest
from holdfast_sre.repair.propose import Manifests, propose

EXIT_REFUSED = 1
SUSPECTS_MAX = 50
"""How many suspects an explanation tells to machines; how many more there are it says."""

Oracle = Annotated[
    Path | None, typer.Option("--oracle", help="JSON file of known repairs, to score proposals against.")
]

Repairs = Annotated[bool, typer.Option("--repairs", help="Score repairs, with drift planted in the baseline.")]
Seed = Annotated[int, typer.Option("--seed", help="With --repairs: which drift.")]
Drift = Annotated[float, typer.Option("--drift", help="With --repairs: the share of places that drift, 0 to 1.")]


class RankedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One cause in the output of `diagnose --json`. `suspect` is there only where a history was named and has one."""

    root_cause: str
    fault_object: str
    rule: str
    object: str
    confidence: float
    evidence: tuple[Evidence, ...]
    victims: tuple[str, ...]
    timeline: tuple[Moment, ...]
    suspect: Suspect | None = None


class DiagnosisLine(msgspec.Struct, frozen=True):
    """One incident in the output of `diagnose --json`."""

    case: str
    seconds: float
    ranked: tuple[RankedLine, ...]
    unexplained: tuple[str, ...]
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


class ExplanationLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """The output of `explain --json`. `suspects` and `key_users` are there only where a history has some."""

    case: str
    explanation: Explanation
    suspects: tuple[Suspect, ...] = ()
    key_users: tuple[KeyUse, ...] = ()
    suspects_left_out: int = 0


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
    app.command("diagnose", rich_help_panel="Find a cause")(diagnose_command)
    app.command("explain", rich_help_panel="Find a cause")(explain_command)
    app.command("propose", rich_help_panel="Find a cause")(propose_command)
    app.command("eval", rich_help_panel="Know how good it is")(eval_command)
    app.command("catalogue", rich_help_panel="Know how good it is")(catalogue_command)


def diagnose_command(
    paths: Paths,
    as_json: AsJson = False,
    manifests: ManifestsAt = None,
    releases: Releases = None,
    sources: SourcesAt = None,
    healthy_at: HealthyAt = None,
    namespace: Namespace = None,
) -> None:
    """Rank the likely causes of incidents or of what a dump shows, each with its evidence. Labels are not read.

    With manifests or sources that git keeps, the change to look at first is named with each cause.

    Exit code 0, or 2 where a path holds no incident or one cannot be read.
    """
    console = Console()
    given = open_past(manifests, releases, sources, healthy_at)

    def tell(found: Examined) -> None:
        snapshot, ranked = found.incident.snapshot, found.diagnosis.ranked
        past = given.ask(snapshot, ranked) if given else Past()
        about = {name for finding in ranked for name in blamed_services(snapshot, finding)} if given else set()
        named = [nearest(past.suspects(snapshot, finding)) if given else None for finding in ranked]
        missing = (*past.missing(about), *given.faults)
        if as_json:
            print_json(_diagnosis_line(found, named, missing))
        else:
            known = (found.case.name, found.diagnosis, found.answers)
            show_diagnosis(console, *known, seconds=found.seconds, suspects=named, missing=missing)

    examine(paths, tell, namespace=namespace, declared=given.declared)
    given.finish()


def _diagnosis_line(found: Examined, named: Sequence[Suspect | None], missing: tuple[str, ...]) -> DiagnosisLine:
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
            suspect,
        )
        for said, finding, suspect in zip(found.answers, found.diagnosis.ranked, named, strict=True)
    )
    unexplained = tuple(map(str, found.diagnosis.unexplained))
    known = (unexplained, found.diagnosis.looked_at, (*found.diagnosis.missing, *missing))
    return DiagnosisLine(found.case.name, found.seconds, ranked, *known)


def explain_command(
    path: Annotated[Path, typer.Argument(help="An incident's folder.")],
    finding: Annotated[
        str,
        typer.Argument(help="Its place in the ranking, its rule, or RULE@Kind/name as `diagnose --json` tells them."),
    ] = "1",
    as_json: AsJson = False,
    manifests: ManifestsAt = None,
    releases: Releases = None,
    sources: SourcesAt = None,
    healthy_at: HealthyAt = None,
    namespace: Namespace = None,
) -> None:
    """Explain a finding: its evidence, what it rests on, what would refute it, and what was looked at.

    With manifests or sources that git keeps, commits stand on its line of time beside events and logs, and it is told
    who else uses the keys that they changed.

    Exit code 0, 1 where the incident has no such finding, or 2 where the path holds no incident or several.
    """
    told: list[bool] = []
    given = open_past(manifests, releases, sources, healthy_at)

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
        past = given.ask(snapshot, [wanted])
        named = past.suspects(snapshot, wanted)
        users = given.users_of_keys(snapshot, wanted, past, named)
        explanation = explain(
            snapshot,
            found.diagnosis,
            wanted,
            changes=[moment for each in named if (moment := each.moment) is not None],
            missing=given.missing(snapshot, wanted, past, named),
        )
        if as_json:
            left_out = max(0, len(named) - SUSPECTS_MAX)
            print_json(ExplanationLine(found.case.name, explanation, named[:SUSPECTS_MAX], users, left_out))
        else:
            show_explanation(console_on(), found.case.name, explanation, named, users)

    examine([path], tell, namespace=namespace, declared=given.declared, cases_max=1)
    given.finish()
    if not all(told):
        raise typer.Exit(EXIT_REFUSED)


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
