"""A claim is absent because the namespace may not have more of them, or not of its size."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.claims import CLAIM
from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.quotas.objects import full_for
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    names = ("requests.storage", "persistentvolumeclaims", "count/persistentvolumeclaims")
    return full_for(snapshot, "quota-storage", CLAIM, *names)


RULE = Rule(
    id="quota-storage",
    title="The namespace's quota for storage is used up",
    holds="something declared is absent, and the quota for storage refuses it",
    mending="lower what is asked for, or have the owner of the quota raise it",
    proof="the quota has room, and the objects exist",
    repair="escalate",
    find=_find,
)
