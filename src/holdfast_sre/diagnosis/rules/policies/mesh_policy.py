"""Calls that the mesh answers in the service's place, with a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.rules.policies.selectors import labels_of, selects
from holdfast_sre.diagnosis.symptoms import unreached
from holdfast_sre.evidence.snapshot import Snapshot, dig

_FORBIDDEN = re.compile(r"RBAC: access denied")


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for line in snapshot.logs:
        if not _FORBIDDEN.search(line.text):
            continue
        for ref, policy in snapshot.of_kind("AuthorizationPolicy"):
            for workload in snapshot.workloads:
                is_meant = workload.name in line.text or unreached(snapshot, workload.name)
                wanted = {"matchLabels": dig(policy, "spec.selector.matchLabels") or {}}
                if is_meant and selects(wanted, labels_of(snapshot, workload)):
                    action = dig(policy, "spec.action") or "ALLOW"
                    evidence = (
                        quote_line(f"log of {line.workload}", line.text, _FORBIDDEN),
                        quote(ref, f"{action} for {workload}"),
                    )
                    yield Finding("mesh-policy", ref, 0.85, evidence, (Field(ref, "spec"),))


RULE = Rule(
    id="mesh-policy",
    title="An authorization policy of the mesh denies a call",
    holds="a caller's log says that access is denied, and a policy selects the workload that it calls",
    mending="put back the policy, or add the caller; the owner of security approves",
    proof="the call is admitted",
    repair="escalate",
    find=_find,
)
