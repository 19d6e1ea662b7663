"""A volume that only some nodes reach, and not those that have room for the pod."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import events_by_reason, is_short
from holdfast_sre.evidence.snapshot import Snapshot

_FAR = "volume node affinity conflict"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads if snapshot.events else ():
        for event in events_by_reason(snapshot, workload, "FailedScheduling")[:1]:
            if _FAR in event.message and is_short(snapshot, workload):
                yield Finding("volume-far", workload, 0.85, (quote(event.about, event.message),))


RULE = Rule(
    id="volume-far",
    title="The volume is on nodes that do not take the pod",
    holds="a short workload's pod waits, and the scheduler says that the volume's node affinity conflicts",
    mending="let the pod go where the volume is, or move the data; data decides, not the manifest",
    proof="the pod is placed and becomes ready",
    repair="escalate",
    find=_find,
)
