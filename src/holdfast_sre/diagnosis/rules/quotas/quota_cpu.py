"""Pods are refused because the namespace may not ask for more CPU."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.quotas.pods import full_for_pods
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    return full_for_pods(snapshot, "quota-cpu", "requests.cpu", "limits.cpu", "cpu")


RULE = Rule(
    id="quota-cpu",
    title="The namespace's quota for cpu is used up",
    holds="something declared is absent, and the quota for cpu refuses it",
    mending="lower what is asked for, or have the owner of the quota raise it",
    proof="the quota has room, and the objects exist",
    repair="escalate",
    find=_find,
)
