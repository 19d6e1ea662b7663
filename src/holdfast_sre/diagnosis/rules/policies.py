"""Traffic that a policy forbids: network policies, and the authorization policies of a mesh."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.latency import callees
from holdfast_sre.diagnosis.scheduling import is_selected
from holdfast_sre.diagnosis.symptoms import is_short, unreached
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

_TIMED_OUT = re.compile(r"timed? ?out|deadline exceeded|ETIMEDOUT|i/o timeout", re.IGNORECASE)
_REFUSED = re.compile(r"connection refused|ECONNREFUSED", re.IGNORECASE)
_FORBIDDEN = re.compile(r"RBAC: access denied")


def _labels(snapshot: Snapshot, workload: Ref) -> dict[str, str]:
    labels = dig(snapshot.manifest(workload), "spec.template.metadata.labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, Mapping) else {}


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether a label selector of the API takes these labels; an empty one takes all."""
    if not isinstance(selector, Mapping):
        return False
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    return all(labels.get(str(key)) == str(value) for key, value in wanted.items()) and all(
        is_selected(expression, labels) for expression in expressions
    )


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


def _closes(policy: Manifest) -> bool:
    types = dig(policy, "spec.policyTypes")
    return types is None or "Ingress" in types


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


def _find_policy(snapshot: Snapshot) -> Iterator[Finding]:
    policies = [(ref, body) for ref, body in snapshot.of_kind("NetworkPolicy") if dig(body, "spec") and _closes(body)]
    edges = callees(snapshot) if policies else {}
    for workload in snapshot.workloads if policies else ():
        labels = _labels(snapshot, workload)
        closing = [(ref, body) for ref, body in policies if selects(dig(body, "spec.podSelector"), labels)]
        services = {workload.name, *(ref.name for ref, _ in snapshot.services_of(workload))}
        callers = sorted(name for name, below in edges.items() if below & services and name not in services)
        shut = [
            caller
            for caller in callers
            if closing and not any(_admits(body, _labels(snapshot, Ref(workload.kind, caller))) for _, body in closing)
        ]
        if is_short(snapshot, workload) or not shut:
            continue
        symptom = _symptom(snapshot, workload, shut)
        if symptom:
            ref = closing[0][0]
            evidence = (quote(ref, f"selects {workload} and admits none of {', '.join(shut[:6])}"), *symptom)
            yield Finding("network-policy", ref, 0.92, evidence, (Field(ref, "spec.ingress"),))


def _find_mesh(snapshot: Snapshot) -> Iterator[Finding]:
    for line in snapshot.logs:
        if not _FORBIDDEN.search(line.text):
            continue
        for ref, policy in snapshot.of_kind("AuthorizationPolicy"):
            for workload in snapshot.workloads:
                is_meant = workload.name in line.text or unreached(snapshot, workload.name)
                wanted = {"matchLabels": dig(policy, "spec.selector.matchLabels") or {}}
                if is_meant and selects(wanted, _labels(snapshot, workload)):
                    action = dig(policy, "spec.action") or "ALLOW"
                    evidence = (
                        quote_line(f"log of {line.workload}", line.text, _FORBIDDEN),
                        quote(ref, f"{action} for {workload}"),
                    )
                    yield Finding("mesh-policy", ref, 0.85, evidence, (Field(ref, "spec"),))


RULES = (
    Rule(
        id="network-policy",
        title="A network policy shuts out those who call",
        holds="policies select a ready workload and admit none of its callers, whose connections time out, not refused",
        mending="put back the policy, or add the caller; the owner of security approves",
        proof="the connection succeeds",
        repair="escalate",
        find=_find_policy,
    ),
    Rule(
        id="mesh-policy",
        title="An authorization policy of the mesh denies a call",
        holds="a caller's log says that access is denied, and a policy selects the workload that it calls",
        mending="put back the policy, or add the caller; the owner of security approves",
        proof="the call is admitted",
        repair="escalate",
        find=_find_mesh,
    ),
)
