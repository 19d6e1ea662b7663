"""A volume for one node at a time, which another node still holds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.claims import claims_of
from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import events_by_reason, is_short
from holdfast_sre.evidence.snapshot import Snapshot

_HELD = re.compile(
    r"Multi-Attach error|is already (?:used|exclusively attached)|volume is already attached", re.IGNORECASE
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads if snapshot.events else ():
        if not is_short(snapshot, workload):
            continue
        for event in events_by_reason(snapshot, workload, "FailedAttachVolume", "FailedMount"):
            if _HELD.search(event.message):
                others = [
                    ref
                    for ref in snapshot.workloads
                    if set(claims_of(snapshot, ref)) & set(claims_of(snapshot, workload))
                ]
                shared = ", ".join(str(ref) for ref in others)
                evidence = (
                    quote(event.about, event.message),
                    quote("the volume's claims are mounted by", shared or "it alone"),
                )
                yield Finding("volume-held", workload, 0.9, evidence)
                break


RULE = Rule(
    id="volume-held",
    title="The volume is held by a pod on another node",
    holds="a short workload's pod cannot attach its volume because it is attached elsewhere",
    mending="see which pod holds it; let that pod go, or wait until its node is declared gone",
    proof="the volume is attached and the pod is ready",
    repair="escalate",
    find=_find,
)
