"""Why a finding is believed: what it rests on, what would refute it, what was looked at.

What it rests on is not told but tried: each kind of evidence is taken away in turn, and the rule is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from holdfast_sre.diagnosis.diagnose import Diagnosis
from holdfast_sre.diagnosis.findings import Finding, Moment, Rule
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.diagnosis.timeline import timeline
from holdfast_sre.evidence.snapshot import Ref, Snapshot

_WITHOUT: Mapping[str, Callable[[Snapshot], Snapshot]] = {
    "events": lambda snapshot: replace(snapshot, events=()),
    "logs": lambda snapshot: replace(snapshot, logs=()),
    "connection attempts": lambda snapshot: replace(snapshot, probes=()),
    "node services": lambda snapshot: replace(snapshot, agents=()),
    "metrics and alerts": lambda snapshot: replace(snapshot, signals=(), measures=()),
    "failed requests": lambda snapshot: replace(snapshot, failures=()),
    "recorded calls": lambda snapshot: replace(snapshot, calls={}),
    "manifests": lambda snapshot: replace(snapshot, declared={}),
    "pods": lambda snapshot: _without(snapshot, "Pod"),
    "nodes": lambda snapshot: _without(snapshot, "Node"),
    "endpoints": lambda snapshot: _without(snapshot, "Endpoints"),
    "quotas": lambda snapshot: _without(snapshot, "ResourceQuota"),
    "volumes": lambda snapshot: _without(snapshot, "PersistentVolume"),
}


class Explanation(msgspec.Struct, frozen=True):
    """A finding with its rule's words. `rests_on` are kinds of evidence without which it would not be made,
    `holds_without` those without which it would be less sure, with the confidence left.
    """

    finding: Finding
    title: str
    holds: str
    refuted_by: tuple[str, ...]
    rests_on: tuple[str, ...]
    holds_without: Mapping[str, float]
    next_step: str
    proof: str
    rivals: tuple[str, ...]
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


def explain(
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    finding: Finding,
    rules: Sequence[Rule] = CATALOGUE,
    *,
    changes: Sequence[Moment] = (),
    missing: Sequence[str] = (),
) -> Explanation:
    """The explanation of one of a diagnosis's findings. Costs the rule's time once for each kind of evidence.

    `changes` are those that others know of, such as commits: they stand on the finding's line of time with its events
    and logs. `missing` is what could not be looked at beside what the diagnosis names.
    """
    if changes:
        finding = msgspec.structs.replace(finding, timeline=timeline(snapshot, finding, changes))
    rule = next(rule for rule in rules if rule.id == finding.rule)
    whole = _confidence(rule, snapshot, finding.object)
    rests_on, holds_without = [], {}
    for kind, take_away in _WITHOUT.items():
        left = _confidence(rule, take_away(snapshot), finding.object)
        if left is None:
            rests_on.append(kind)
        elif whole is not None and left < whole:
            holds_without[kind] = left
    rivals = [other for other in diagnosis.ranked if not _is_same(other, finding)]
    return Explanation(
        finding=finding,
        title=rule.title,
        holds=rule.holds,
        refuted_by=_refutations(finding, rule, rests_on),
        rests_on=tuple(rests_on),
        holds_without=holds_without,
        next_step=rule.mending,
        proof=rule.proof,
        rivals=tuple(f"{other.rule} on {other.object}, {other.confidence:.2f} sure" for other in rivals),
        looked_at=diagnosis.looked_at,
        missing=(*diagnosis.missing, *missing),
    )


def _is_same(one: Finding, other: Finding) -> bool:
    return (one.rule, one.object) == (other.rule, other.object)


def _refutations(finding: Finding, rule: Rule, rests_on: Sequence[str]) -> tuple[str, ...]:
    found = [f"one of these does not hold any more: {rule.holds}"]
    if rests_on:
        found.append(f"fresh {', '.join(rests_on)} that do not show what is quoted")
    if finding.victims:
        names = ", ".join(str(ref) for ref in finding.victims[:6])
        found.append(f"{names} stay in trouble after {finding.object} is well")
    found.append(f"the step was taken, and this is still not so: {rule.proof}")
    return tuple(found)


def _confidence(rule: Rule, snapshot: Snapshot, about: Ref) -> float | None:
    return max((finding.confidence for finding in rule.find(snapshot) if finding.object == about), default=None)


def _without(snapshot: Snapshot, kind: str) -> Snapshot:
    return replace(snapshot, live={ref: body for ref, body in snapshot.live.items() if ref.kind != kind})


def chosen(diagnosis: Diagnosis, wanted: str) -> Finding | None:
    """The finding that is meant by its place in the ranking (from 1), its rule or `rule@Kind/name`; None for none."""
    if wanted.isascii() and wanted.isdigit():
        place = int(wanted[:4])
        return diagnosis.ranked[place - 1] if 0 < place <= len(diagnosis.ranked) else None
    for finding in diagnosis.ranked:
        if wanted in (finding.rule, f"{finding.rule}@{finding.object}"):
            return finding
    return None
