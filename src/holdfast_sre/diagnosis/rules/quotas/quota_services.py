"""A service is absent because the namespace may not have more of them."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.quotas.objects import full_for
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    names = ("services", "count/services", "services.loadbalancers", "services.nodeports")
    return full_for(snapshot, "quota-services", "Service", *names)


RULE = Rule(
    id="quota-services",
    title="The namespace's quota for services is used up",
    holds="something declared is absent, and the quota for services refuses it",
    mending="lower what is asked for, or have the owner of the quota raise it",
    proof="the quota has room, and the objects exist",
    repair="escalate",
    find=_find,
)
