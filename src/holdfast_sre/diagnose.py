"""From a snapshot to a ranked list of causes.

Every rule of the catalogue looks at the snapshot; what they find is ranked by confidence, a cause before what it
explains, one finding per rule and object. The result says what was looked at and what was missing, so that silence
explains itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from holdfast_sre.findings import Finding, Rule
from holdfast_sre.rules import CATALOGUE
from holdfast_sre.snapshot import Snapshot

RANKED_MAX = 5


class Diagnosis(msgspec.Struct, frozen=True):
    """The findings, most likely cause first, and what they rest on."""

    ranked: tuple[Finding, ...]
    looked_at: tuple[str, ...]
    missing: tuple[str, ...]


def diagnose(snapshot: Snapshot, rules: Sequence[Rule] = CATALOGUE) -> Diagnosis:
    """At most RANKED_MAX findings. Same snapshot, same answer."""
    found = [finding for rule in rules for finding in rule.find(snapshot)]
    looked_at = tuple(f"{count} {what}" for what, count in _counts(snapshot).items() if count)
    return Diagnosis(tuple(rank(found)[:RANKED_MAX]), looked_at, snapshot.missing)


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
        "failed request groups": len(snapshot.failures),
    }
