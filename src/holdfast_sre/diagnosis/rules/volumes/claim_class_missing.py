"""A class that is to make the volume, and is not there; where there are volumes, they are compared instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.claims import claims_of
from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.snapshot import Ref, Snapshot

_NO_CLASS = re.compile(r'storageclass\S* "(?P<name>[^"]{1,253})" not found', re.IGNORECASE)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    if any(snapshot.exists(ref) for ref, _ in snapshot.of_kind("PersistentVolume")):
        return
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload) if is_short(snapshot, workload) else ():
            for event in snapshot.events_of(claim):
                match = _NO_CLASS.search(event.message)
                if match and not snapshot.exists(Ref("StorageClass", match["name"])):
                    blames = (Field(claim, "spec.storageClassName"),)
                    yield Finding("claim-class-missing", workload, 0.93, (quote(claim, event.message),), blames)
                    break


RULE = Rule(
    id="claim-class-missing",
    title="The claim's storage class does not exist",
    holds="a short workload's claim waits, the class is not found, and no volume is there to be bound by hand",
    mending="put back the class of the claim",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
