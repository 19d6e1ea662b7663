"""From a snapshot to a ranked list of causes.

Every rule of the catalogue looks at the snapshot; what they find is ranked by confidence, a cause before what it
explains, one finding per rule and object. The result says what was looked at and what was missing, so that silence
explains itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast_sre.diagnosis.causes import weighed
from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules import CATALOGUE
from holdfast_sre.diagnosis.symptoms import short_workloads
from holdfast_sre.diagnosis.timeline import timeline
from holdfast_sre.evidence.snapshot import Ref, Snapshot

RANKED_MAX = 5


class Diagnosis(msgspec.Struct, frozen=True):
    """The findings, most likely cause first, and what they rest on.

    `unexplained` are workloads short of replicas that no finding is about or explains.
    """

    ranked: tuple[Finding, ...]
    unexplained: tuple[Ref, ...]
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


def diagnose(snapshot: Snapshot, rules: Sequence[Rule] = CATALOGUE) -> Diagnosis:
    """At most RANKED_MAX findings. Same snapshot, same answer."""
    found = rank([finding for rule in rules for finding in rule.find(snapshot)])
    ranked = tuple(
        msgspec.structs.replace(finding, timeline=timeline(snapshot, finding))
        for finding in rank(weighed(snapshot, found))[:RANKED_MAX]
    )
    explained = {ref for finding in ranked for ref in (finding.object, *finding.victims)}
    unexplained = tuple(ref for ref in short_workloads(snapshot) if ref not in explained)
    looked_at = tuple(f"{count} {what}" for what, count in _counts(snapshot).items() if count)
    return Diagnosis(ranked, unexplained, looked_at, snapshot.missing)


def rank(findings: Sequence[Finding]) -> list[Finding]:
    """Most confident first, one per rule and object; equals in the order of rule and object."""
    best: dict[tuple[str, object], Finding] = {}
    for finding in findings:
        key = (finding.rule, finding.object)
        if key not in best or finding.confidence > best[key].confidence:
            best[key] = finding
    return sorted(best.values(), key=lambda finding: (-finding.confidence, finding.rule, finding.object))


def _counts(snapshot: Snapshot) -> dict[str, int]:
    return {
        "live objects": len(snapshot.live),
        "manifests": len(snapshot.declared),
        "events": len(snapshot.events),
        "log lines": len(snapshot.logs),
        "connection attempts": len(snapshot.probes),
        "node services": len(snapshot.agents),
        "measured deviations": len(snapshot.signals),
        "metrics": len(snapshot.measures),
        "failed request groups": len(snapshot.failures),
    }
