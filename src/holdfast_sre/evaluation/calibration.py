"""Whether confidence means what it says, and whether what is fitted on one system holds on another.

The fit is small on purpose: for each rule the share of its findings that were right, drawn towards what the rule itself
says by PRIOR_CASES imagined cases. Applied, it changes confidence and thereby order, and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from holdfast_sre.evaluation.judged import Judged, Score, score

PRIOR_CASES = 10.0
BINS = 10


class Bin(msgspec.Struct, frozen=True):
    """The first answers whose confidence lies in a tenth of the scale: how sure they were, how often right."""

    upto: float
    cases: int
    confidence: float
    right: float


class LeftOut(msgspec.Struct, frozen=True):
    """A system judged with what was fitted on the others; `lost` is the A@1 that this costs, below 0 a gain."""

    score: Score
    lost: float


Calibration = Mapping[str, tuple[float, int]]
"""By rule the share of its findings that were right, and how many there were."""


def bins(judged: Sequence[Judged]) -> tuple[Bin, ...]:
    """The first answers by confidence; empty tenths are left out."""
    found: dict[int, list[Judged]] = defaultdict(list)
    for case in judged:
        if case.answers:
            found[min(int(case.confidence * BINS), BINS - 1)].append(case)
    return tuple(
        Bin(
            upto=round((index + 1) / BINS, 2),
            cases=len(cases),
            confidence=round(sum(case.confidence for case in cases) / len(cases), 4),
            right=round(sum(case.is_right for case in cases) / len(cases), 4),
        )
        for index, cases in sorted(found.items())
    )


def fit(judged: Sequence[Judged]) -> Calibration:
    """How often each rule's findings, first or not, were right."""
    right: dict[str, int] = defaultdict(int)
    count: dict[str, int] = defaultdict(int)
    for case in judged:
        for rule, answer in zip(case.rules, case.answers, strict=True):
            count[rule] += 1
            right[rule] += answer == case.truth
    return {rule: (right[rule] / count[rule], count[rule]) for rule in sorted(count)}


def applied(case: Judged, calibration: Calibration) -> Judged:
    """A case with the confidence and order that a calibration gives its findings."""
    rows = [
        (_calibrated(confidence, calibration.get(rule)), rule, answer)
        for rule, answer, confidence in zip(case.rules, case.answers, case.confidences, strict=True)
    ]
    rows.sort(key=lambda row: -row[0])
    return msgspec.structs.replace(
        case,
        answers=tuple(row[2] for row in rows),
        rules=tuple(row[1] for row in rows),
        confidences=tuple(row[0] for row in rows),
    )


def _calibrated(stated: float, seen: tuple[float, int] | None) -> float:
    share, count = seen or (0.0, 0)
    return round((stated * PRIOR_CASES + share * count) / (PRIOR_CASES + count), 4)


def left_out(judged: Sequence[Judged]) -> dict[str, LeftOut]:
    """Each system judged with what was fitted on all others; empty where there is only one."""
    systems = sorted({case.system for case in judged})
    found = {}
    for name in systems if len(systems) > 1 else ():
        own = [case for case in judged if case.system == name]
        calibration = fit([case for case in judged if case.system != name])
        fitted = score([applied(case, calibration) for case in own])
        found[name] = LeftOut(fitted, round(score(own).first - fitted.first, 4))
    return found
