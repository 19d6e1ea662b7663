"""How good the diagnoses and the proposals are, against labels and against repairs that are known to be right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evaluation.calibration import Bin, LeftOut, bins, left_out
from holdfast_sre.evaluation.judged import Judged, Score, score, share
from holdfast_sre.evaluation.opsbench_labels import Answer


class Miss(msgspec.Struct, frozen=True):
    """A case whose first answer is wrong."""

    case: str
    truth: Answer
    answers: tuple[Answer, ...]


class Report(msgspec.Struct, frozen=True):
    """Everything together, by the first part of the case's name, and by class of truth; how honest confidence is; and
    each system with what was fitted on the others.
    """

    overall: Score
    systems: dict[str, Score]
    classes: dict[str, Score]
    misses: tuple[Miss, ...]
    calibration: tuple[Bin, ...]
    left_out: dict[str, LeftOut]


def report(judged: Sequence[Judged]) -> Report:
    """The whole report over at least one case."""
    systems: dict[str, list[Judged]] = defaultdict(list)
    classes: dict[str, list[Judged]] = defaultdict(list)
    for case in judged:
        systems[case.system].append(case)
        classes[case.truth.root_cause].append(case)
    return Report(
        overall=score(judged),
        systems={name: score(cases) for name, cases in sorted(systems.items())},
        classes={name: score(cases) for name, cases in sorted(classes.items())},
        misses=tuple(Miss(case.case, case.truth, case.answers[:3]) for case in judged if not case.is_right),
        calibration=bins(judged),
        left_out=left_out(judged),
    )


class Leaf(msgspec.Struct, frozen=True):
    """A leaf in which the faulty manifests differ from the healthy ones: `Kind/name.path.to.leaf`."""

    path: str
    faulty: str | None
    healthy: str | None


class Repair(msgspec.Struct, frozen=True):
    """What is known to mend a case."""

    app: str
    diffs: tuple[Leaf, ...]


Verdict = Literal["restored", "not restored", "rightly escalated", "wrongly patched"]


class JudgedRepair(msgspec.Struct, frozen=True):
    """One proposal: the verdict, required leaves that it leaves as they are, and leaves it changes that were well."""

    case: str
    verdict: Verdict
    missed: tuple[str, ...]
    collateral: tuple[str, ...]


class RepairReport(msgspec.Struct, frozen=True):
    """Shares of 1; `restored` over cases with a known repair, `rightly_escalated` over those without."""

    mendable: int
    restored: float
    collateral_leaves: int
    others: int
    rightly_escalated: float
    misses: tuple[JudgedRepair, ...]


def judge_repair(
    case: str, changes: Iterable[Change], known: Repair | None, last_good: Mapping[str, str] | None
) -> JudgedRepair:
    """Compare a proposal's changes with the known repair.

    `last_good` are the leaves of the last known good, by `Kind/name.path`: where it is not healthy itself the leaf is
    drift, neither required nor collateral. None where there was none: then every leaf is required.
    """
    proposed = {f"{change.object}.{change.path}": change.after for change in changes}
    if known is None:
        return JudgedRepair(case, "wrongly patched" if proposed else "rightly escalated", (), tuple(sorted(proposed)))
    leaves = {leaf.path: leaf for leaf in known.diffs}
    required = [leaf for leaf in known.diffs if last_good is None or last_good.get(leaf.path) == leaf.healthy]
    missed = [leaf.path for leaf in required if leaf.path not in proposed or proposed[leaf.path] != leaf.healthy]
    collateral = tuple(sorted(path for path in proposed if path not in leaves))
    return JudgedRepair(case, "restored" if proposed and not missed else "not restored", tuple(missed), collateral)


def report_repairs(judged: Sequence[JudgedRepair]) -> RepairReport:
    """The shares over some proposals."""
    mendable = [case for case in judged if case.verdict in ("restored", "not restored")]
    others = [case for case in judged if case.verdict in ("rightly escalated", "wrongly patched")]
    right = ("restored", "rightly escalated")
    return RepairReport(
        mendable=len(mendable),
        restored=share(sum(case.verdict == "restored" for case in mendable), len(mendable) or 1),
        collateral_leaves=sum(len(case.collateral) for case in judged),
        others=len(others),
        rightly_escalated=share(sum(case.verdict == "rightly escalated" for case in others), len(others) or 1),
        misses=tuple(case for case in judged if case.verdict not in right or case.collateral),
    )
