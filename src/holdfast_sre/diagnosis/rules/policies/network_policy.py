"""Packets that a policy drops: what tells it from a service that is down is that connections time out, not refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.latency import callees
from holdfast_sre.diagnosis.rules.policies.selectors import labels_of, selects
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

_TIMED_OUT = re.compile(r"timed? ?out|deadline exceeded|ETIMEDOUT|i/o timeout", re.IGNORECASE)
_REFUSED = re.compile(r"connection refused|ECONNREFUSED", re.IGNORECASE)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    policies = [(ref, body) for ref, body in snapshot.of_kind("NetworkPolicy") if dig(body, "spec") and _closes(body)]
    edges = callees(snapshot) if policies else {}
    for workload in snapshot.workloads if policies else ():
        labels = labels_of(snapshot, workload)
        closing = [(ref, body) for ref, body in policies if selects(dig(body, "spec.podSelector"), labels)]
        services = {workload.name, *(ref.name for ref, _ in snapshot.services_of(workload))}
        callers = sorted(name for name, below in edges.items() if below & services and name not in services)
        shut = [
            caller
            for caller in callers
            if closing
            and not any(_admits(body, labels_of(snapshot, Ref(workload.kind, caller))) for _, body in closing)
        ]
        if is_short(snapshot, workload) or not shut:
            continue
        symptom = _symptom(snapshot, workload, shut)
        if symptom:
            ref = closing[0][0]
            evidence = (quote(ref, f"selects {workload} and admits none of {', '.join(shut[:6])}"), *symptom)
            yield Finding("network-policy", ref, 0.92, evidence, (Field(ref, "spec.ingress"),))


def _closes(policy: Manifest) -> bool:
    types = dig(policy, "spec.policyTypes")
    return types is None or "Ingress" in types


def _admits(policy: Manifest, caller: Mapping[str, str]) -> bool:
    """Whether an ingress rule lets pods of the same namespace with these labels in, on any port."""
    for rule in dig(policy, "spec.ingress") or ():
        peers = rule.get("from")
        if not peers:
            return True
        for peer in peers:
            if peer.get("ipBlock") or "namespaceSelector" in peer:
                return True  # Whether an address or a namespace fits cannot be told from here.
            if selects(peer.get("podSelector"), caller):
                return True
    return False


def _symptom(snapshot: Snapshot, workload: Ref, callers: list[str]) -> list[Evidence]:
    """What tells that packets are dropped: connections that fail without being refused, callers that wait in vain."""
    services = [ref.name for ref, _ in snapshot.services_of(workload)]
    found = [
        quote(f"connection to {probe.service}:{probe.port}", probe.text)
        for probe in snapshot.probes
        if probe.service in services and not probe.reached and not _REFUSED.search(probe.text)
    ]
    found += [
        quote_line(f"log of {line.workload}", line.text, _TIMED_OUT)
        for line in snapshot.logs
        if line.workload in callers and _TIMED_OUT.search(line.text) and any(name in line.text for name in services)
    ]
    return found[:2]


RULE = Rule(
    id="network-policy",
    title="A network policy shuts out those who call",
    holds="policies select a ready workload and admit none of its callers, whose connections time out, not refused",
    mending="put back the policy, or add the caller; the owner of security approves",
    proof="the connection succeeds",
    repair="escalate",
    find=_find,
)
