"""The pods mount a claim that is absent; one that is declared was kept from being created, which is the cause."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.claims import CLAIM, claims_of
from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import events_by_reason, is_short, nearest
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig, pod_spec_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    if not any(ref.kind == CLAIM for ref in snapshot.live) and not snapshot.events:
        return
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload) if is_short(snapshot, workload) else ():
            told = [
                event
                for event in events_by_reason(snapshot, workload, "FailedScheduling", "FailedMount")
                if f'persistentvolumeclaim "{claim.name}" not found' in event.message
            ]
            if snapshot.exists(claim) or not (told or any(ref.kind == CLAIM for ref in snapshot.live)):
                continue
            names = [ref.name for ref in {*snapshot.live, *snapshot.declared} if ref.kind == CLAIM and ref != claim]
            evidence: list[Evidence] = [quote(event.about, event.message) for event in told[:1]]
            evidence.append(quote(workload, f"mounts {claim}, which is absent"))
            meant = nearest(claim.name, sorted(names))
            evidence += [quote(Ref(CLAIM, meant), "has nearly the name of it")] if meant else []
            index = _index(snapshot, workload, claim)
            path = f"spec.template.spec.volumes[{index}].persistentVolumeClaim.claimName"
            # One that is declared was kept from being created, and what kept it is the cause.
            confidence = 0.6 if claim in snapshot.declared else 0.9
            blames = (Field(workload, path), Field(claim, ""))
            yield Finding("claim-missing", workload, confidence, tuple(evidence), blames)


def _index(snapshot: Snapshot, workload: Ref, claim: Ref) -> str:
    for volume in pod_spec_of(snapshot.manifest(workload)).get("volumes") or ():
        if dig(volume, "persistentVolumeClaim.claimName") == claim.name:
            return str(volume.get("name"))
    return "0"


RULE = Rule(
    id="claim-missing",
    title="The claim that the pod mounts does not exist",
    holds="a workload is short, and a claim that its pods mount is absent",
    mending="put back the claim or its name",
    proof="the claim is Bound and the pod is ready",
    repair="patch",
    find=_find,
)
