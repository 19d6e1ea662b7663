"""Nothing runs, and the cluster wants it so, but neither the manifests nor the callers do."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import desired, unreached
from holdfast_sre.evidence.snapshot import Ref, Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        live = snapshot.live.get(workload)
        if live is None or workload.kind == "DaemonSet" or desired(live) != 0:
            continue
        wanted = desired(snapshot.manifest(workload)) if workload in snapshot.declared else 1
        callers = snapshot.callers_of(workload.name)
        evidence = [quote(workload, f"0 replicas are asked for in the cluster, {wanted} in the manifests")]
        if unreached(snapshot, workload.name):
            evidence.append(quote(Ref("Service", workload.name), "a connection to it fails"))
        if callers:
            evidence.append(quote(workload, f"is called by {', '.join(callers[:6])}"))
        if wanted > 0 and len(evidence) > 1:
            yield Finding("zero-replicas", workload, 0.96, tuple(evidence))


RULE = Rule(
    id="zero-replicas",
    title="Scaled to zero",
    holds="the cluster asks for 0 replicas, the manifests for more, and others call the service or cannot reach it",
    mending="find who scaled it down and why; let the deployment controller apply the manifests again",
    proof="the number of available replicas is the manifests'",
    repair="escalate",
    find=_find,
)
