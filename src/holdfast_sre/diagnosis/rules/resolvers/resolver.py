"""A name resolution of one's own is in use in many a sound pod: it takes trouble with names to blame it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.manifest_paths import is_under, leaves
from holdfast_sre.diagnosis.symptoms import is_short, restarts, unreached
from holdfast_sre.evidence.snapshot import Snapshot, pod_spec_of

_SPEC = "spec.template.spec"
_UNRESOLVED = re.compile(
    r"UnknownHostException|no such host|Name or service not known|failure in name resolution|EAI_AGAIN|ENOTFOUND"
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        spec = pod_spec_of(snapshot.manifest(workload))
        policy, config = spec.get("dnsPolicy") or "ClusterFirst", spec.get("dnsConfig")
        if policy not in ("None", "Default") and not config:
            continue
        is_alone = policy == "None"
        evidence = [quote(workload, f"dnsPolicy {policy}, dnsConfig {leaves(config) or 'none'}")]
        evidence += [
            quote_line(f"log of {workload.name}", line.text, _UNRESOLVED)
            for line in snapshot.logs_of(workload.name)
            if _UNRESOLVED.search(line.text)
        ][:2]
        if not is_alone and len(evidence) == 1:
            continue  # The node's own name servers or options beside the cluster's are in use in many a sound pod.
        if unreached(snapshot, workload.name) or is_short(snapshot, workload):
            evidence.append(quote(workload, "is not ready or cannot be reached"))
        if any(restarts(pod) for _, pod in snapshot.pods_of(workload)):
            evidence.append(quote(workload, "its containers were restarted"))
        if len(evidence) > 1:
            fields = (Field(workload, f"{_SPEC}.dnsPolicy"), Field(workload, f"{_SPEC}.dnsConfig"))
            written = leaves(snapshot.manifest(workload))
            remedy = tuple(
                Change(str(workload), path, text, None)
                for path, text in written.items()
                if any(is_under(path, field.path) for field in fields)
            )
            yield Finding("resolver", workload, 0.95 if is_alone else 0.8, tuple(evidence), fields, remedy)


RULE = Rule(
    id="resolver",
    title="The pod asks name servers of its own, in vain",
    holds="the pod has a name resolution of its own, and is short, unreachable, restarted or complains of names",
    mending="put back the cluster's name resolution",
    proof="look-ups succeed and the pod is ready",
    repair="patch",
    find=_find,
)
