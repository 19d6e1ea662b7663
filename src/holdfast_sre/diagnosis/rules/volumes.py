"""Volumes that cannot be had for other reasons than a mismatch: no such claim, no such class, held elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.storage import claims_of
from holdfast_sre.diagnosis.symptoms import events_by_reason, is_short, nearest
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig, pod_spec_of

_CLAIM, _CLASS = "PersistentVolumeClaim", "StorageClass"
_HELD = re.compile(
    r"Multi-Attach error|is already (?:used|exclusively attached)|volume is already attached", re.IGNORECASE
)
_NO_CLASS = re.compile(r'storageclass\S* "(?P<name>[^"]{1,253})" not found', re.IGNORECASE)
_FAR = "volume node affinity conflict"


def _find_claim(snapshot: Snapshot) -> Iterator[Finding]:
    if not any(ref.kind == _CLAIM for ref in snapshot.live) and not snapshot.events:
        return
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload) if is_short(snapshot, workload) else ():
            told = [
                event
                for event in events_by_reason(snapshot, workload, "FailedScheduling", "FailedMount")
                if f'persistentvolumeclaim "{claim.name}" not found' in event.message
            ]
            if snapshot.exists(claim) or not (told or any(ref.kind == _CLAIM for ref in snapshot.live)):
                continue
            names = [ref.name for ref in {*snapshot.live, *snapshot.declared} if ref.kind == _CLAIM and ref != claim]
            evidence: list[Evidence] = [quote(event.about, event.message) for event in told[:1]]
            evidence.append(quote(workload, f"mounts {claim}, which is absent"))
            meant = nearest(claim.name, sorted(names))
            evidence += [quote(Ref(_CLAIM, meant), "has nearly the name of it")] if meant else []
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


def _find_class(snapshot: Snapshot) -> Iterator[Finding]:
    """Claims of a class that does not exist, where there is no volume to compare with either."""
    if any(snapshot.exists(ref) for ref, _ in snapshot.of_kind("PersistentVolume")):
        return
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload) if is_short(snapshot, workload) else ():
            for event in snapshot.events_of(claim):
                match = _NO_CLASS.search(event.message)
                if match and not snapshot.exists(Ref(_CLASS, match["name"])):
                    evidence = (quote(claim, event.message),)
                    yield Finding(
                        "claim-class-missing", workload, 0.93, evidence, (Field(claim, "spec.storageClassName"),)
                    )
                    break


def _find_held(snapshot: Snapshot) -> Iterator[Finding]:
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


def _find_far(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads if snapshot.events else ():
        for event in events_by_reason(snapshot, workload, "FailedScheduling")[:1]:
            if _FAR in event.message and is_short(snapshot, workload):
                yield Finding("volume-far", workload, 0.85, (quote(event.about, event.message),))


RULES = (
    Rule(
        id="claim-missing",
        title="The claim that the pod mounts does not exist",
        holds="a workload is short, and a claim that its pods mount is absent",
        mending="put back the claim or its name",
        proof="the claim is Bound and the pod is ready",
        repair="patch",
        find=_find_claim,
    ),
    Rule(
        id="claim-class-missing",
        title="The claim's storage class does not exist",
        holds="a short workload's claim waits, the class is not found, and no volume is there to be bound by hand",
        mending="put back the class of the claim",
        proof="the claim is Bound",
        repair="patch",
        find=_find_class,
    ),
    Rule(
        id="volume-held",
        title="The volume is held by a pod on another node",
        holds="a short workload's pod cannot attach its volume because it is attached elsewhere",
        mending="see which pod holds it; let that pod go, or wait until its node is declared gone",
        proof="the volume is attached and the pod is ready",
        repair="escalate",
        find=_find_held,
    ),
    Rule(
        id="volume-far",
        title="The volume is on nodes that do not take the pod",
        holds="a short workload's pod waits, and the scheduler says that the volume's node affinity conflicts",
        mending="let the pod go where the volume is, or move the data; data decides, not the manifest",
        proof="the pod is placed and becomes ready",
        repair="escalate",
        find=_find_far,
    ),
)
