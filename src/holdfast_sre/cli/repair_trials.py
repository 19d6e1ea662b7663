"""`eval --repairs`: repairs against a baseline in which drift was planted, and without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.text import Text

from holdfast import InvalidInput
from holdfast_sre.cli.examine import examine, fail_input, print_json
from holdfast_sre.cli.terminal import console_on, printable
from holdfast_sre.evaluation.evaluate import Repair
from holdfast_sre.evaluation.repairs import RepairTrial, Trial
from holdfast_sre.repair.propose import Manifests

ROWS_MAX = 20


def eval_repairs(
    directory: Path,
    baseline: Manifests | None,
    known: Mapping[str, Repair] | None,
    *,
    seed: int,
    drift: float,
    as_json: bool,
) -> None:
    """Score and print. Ends with exit code 2 without a baseline, without known repairs, or without a case."""
    if baseline is None or known is None:
        fail_input(InvalidInput("eval --repairs: expected --baseline FOLDER and --oracle FILE, saw not both"))
    trial = Trial(baseline, known, seed=seed, share=drift)
    try:
        examine([directory], lambda found: trial.weigh(found.case.name, found.incident.snapshot, found.diagnosis))
        found = trial.report()
    except InvalidInput as error:
        fail_input(error)
    if as_json:
        print_json(found)
    else:
        _show(console_on(), found)


def _show(console: Console, found: RepairTrial) -> None:
    drifted, alone = found.with_drift, found.without_baseline
    console.print(Text("Repairs", "bold"), f"seed {found.seed}, drift in {found.share:.0%} of the places")
    console.print(f"  a baseline with {found.drifted_leaves_mean} drifted leaves on average:")
    console.print(f"    restored            {drifted.restored:.4f} of {drifted.mendable}")
    console.print(f"    leaves changed beside  {drifted.collateral_leaves}")
    console.print(f"    rightly escalated   {drifted.rightly_escalated:.4f} of {drifted.others}")
    console.print("  no baseline:")
    console.print(f"    patched             {found.patched_without_baseline} of {alone.mendable + alone.others}")
    console.print(f"    unsafe patches      {len(found.unsafe_without_baseline)}")
    console.print(f"    with another value  {len(found.other_values_without_baseline)}")
    for miss in drifted.misses[:ROWS_MAX]:
        paths = ", ".join((miss.collateral or miss.missed)[:3])
        console.print(Text(printable(f"  {miss.case}: {miss.verdict}: {paths}")), soft_wrap=True)
    for case in found.unsafe_without_baseline[:ROWS_MAX]:
        console.print(Text(printable(f"  {case}: unsafe without a baseline"), "red"))
