"""The commands `diagnose`, `propose` and `eval`, for the bot's command line to register."""

from __future__ import annotations

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
    examine,
    fail_input,
    load_baseline,
    print_json,
)
from holdfast_sre.cli.proposals import propose_command
from holdfast_sre.cli.repair_trials import eval_repairs
from holdfast_sre.diagnosis.findings import Evidence
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evaluation.diagnosis_view import show_diagnosis, show_repairs, show_report
from holdfast_sre.evaluation.evaluate import (
    Judged,
    JudgedRepair,
    Repair,
    RepairReport,
    Report,
    judge_repair,
    report,
    report_repairs,
)
from holdfast_sre.evaluation.opsbench_labels import read_label
from holdfast_sre.repair.propose import Manifests, propose

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
    confidence: float
    evidence: tuple[Evidence, ...]


class DiagnosisLine(msgspec.Struct, frozen=True):
    """One incident in the output of `diagnose --json`."""

    case: str
    seconds: float
    ranked: tuple[RankedLine, ...]
    looked_at: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class EvalOutput(msgspec.Struct, frozen=True):
    """The output of `eval --json`."""

    diagnosis: Report
    repair: RepairReport | None


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command("diagnose")(diagnose_command)
    app.command("propose")(propose_command)
    app.command("eval")(eval_command)


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
            RankedLine(said.root_cause, said.fault_object, finding.confidence, finding.evidence)
            for said, finding in zip(found.answers, found.diagnosis.ranked, strict=True)
        )
        looked_at, missing = found.diagnosis.looked_at, found.diagnosis.missing
        print_json(DiagnosisLine(found.case.name, found.seconds, ranked, looked_at, missing))

    examine(paths, tell, namespace=namespace)


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
        confidence = found.diagnosis.ranked[0].confidence if found.diagnosis.ranked else 0.0
        if truth is not None:
            judged.append(Judged(name, truth, found.answers, confidence, found.seconds))
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


def _load_oracle(path: Path | None) -> dict[str, Repair] | None:
    if path is None:
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Repair])
    except (OSError, msgspec.DecodeError) as error:
        fail_input(InvalidInput(f"{path}: expected known repairs by case as JSON, saw: {error}"))


def _all_leaves(manifests: Manifests) -> dict[str, str]:
    return {f"{ref}.{path}": text for ref, manifest in manifests.items() for path, text in leaves(manifest).items()}
