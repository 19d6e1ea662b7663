"""A service that is declared and absent, told from one that was merely not recorded."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.latency import callees
from holdfast_sre.diagnosis.symptoms import unreached, was_tried
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    """Services that the manifests declare or that settings name, and that the cluster does not have."""
    if not any(ref.kind == "Service" for ref in snapshot.live):
        return
    edges = callees(snapshot)
    for ref in sorted(snapshot.declared):
        if ref.kind != "Service" or snapshot.exists(ref) or snapshot.addresses_of(ref.name):
            continue
        callers = sorted(name for name, below in edges.items() if ref.name in below and name != ref.name)
        evidence = [quote(ref, "is declared, but the cluster does not have it")]
        is_unreached = unreached(snapshot, ref.name)
        if was_tried(snapshot, ref.name) and not is_unreached:
            continue  # So it is there, and was not recorded.
        evidence += [quote(ref, "a connection to it fails")] if is_unreached else []
        evidence += [quote(ref, f"is called by {', '.join(callers[:6])}")] if callers else []
        lines = [line for line in snapshot.logs if ref.name in line.text and "no such host" in line.text]
        evidence += [quote(f"log of {line.workload}", line.text) for line in lines[:1]]
        if len(evidence) > 1:
            yield Finding("service-missing", ref, 0.9 if is_unreached or lines else 0.4, tuple(evidence))


RULE = Rule(
    id="service-missing",
    title="A declared service is not there",
    holds="the manifests declare a service that the cluster does not have, and others call it or cannot reach it",
    mending="find who deleted it; let the deployment controller apply the manifests again",
    proof="the service exists and a connection to it succeeds",
    repair="escalate",
    find=_find,
)
