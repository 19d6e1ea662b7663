"""Claims that find no volume, compared field by field with each volume; and volumes a process may not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from holdfast_sre.diagnosis.findings import ANY_ABSENT, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, containers_of, dig, pod_spec_of

Mismatch = Literal["class", "selector", "access-mode", "capacity", "occupied"]
_CLAIM, _VOLUME = "PersistentVolumeClaim", "PersistentVolume"


def claims_of(snapshot: Snapshot, workload: Ref) -> list[Ref]:
    """The claims that a workload's pods mount."""
    volumes = pod_spec_of(snapshot.manifest(workload)).get("volumes") or ()
    names = [dig(volume, "persistentVolumeClaim.claimName") for volume in volumes]
    return [Ref(_CLAIM, str(name)) for name in names if name]


def _unbound(snapshot: Snapshot) -> Iterator[tuple[Ref, Ref]]:
    """Workloads that are short for want of a claim that stays unbound."""
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload):
            phase = dig(snapshot.live.get(claim, {}), "status.phase")
            if phase == "Pending" and is_short(snapshot, workload):
                yield workload, claim


def _class(manifest: Manifest) -> str:
    return str(dig(manifest, "spec.storageClassName") or "")


def _labels_match(claim: Manifest, volume: Manifest) -> bool:
    wanted: Mapping[str, str] = dig(claim, "spec.selector.matchLabels") or {}
    labels: Mapping[str, str] = dig(volume, "metadata.labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def _mismatches(claim: Manifest, ref: Ref, volume: Manifest, live: Manifest) -> list[Mismatch]:
    found: list[Mismatch] = []
    if _class(claim) != _class(volume):
        found.append("class")
    if not _labels_match(claim, volume):
        found.append("selector")
    if set(dig(claim, "spec.accessModes") or ()) - set(dig(volume, "spec.accessModes") or ()):
        found.append("access-mode")
    asked, offered = (
        quantity(dig(claim, "spec.resources.requests.storage")),
        quantity(dig(volume, "spec.capacity.storage")),
    )
    if asked is not None and offered is not None and asked > offered:
        found.append("capacity")
    bound = dig(live, "spec.claimRef.name")
    if bound and bound != dig(claim, "metadata.name"):
        found.append("occupied")
    return found


def _find(snapshot: Snapshot, mismatch: Mismatch) -> Iterator[Finding]:
    for workload, ref in _unbound(snapshot):
        claim = snapshot.manifest(ref)
        volumes = [
            (volume, snapshot.manifest(volume)) for volume, _ in snapshot.of_kind(_VOLUME) if snapshot.exists(volume)
        ]
        judged = {volume: _mismatches(claim, volume, body, snapshot.live[volume]) for volume, body in volumes}
        if not judged or any(not found for found in judged.values()):
            continue
        volume = min(judged, key=lambda candidate: _distance(snapshot, ref, candidate, judged[candidate]))
        if judged[volume][0] != mismatch:
            continue
        told = [event.message for event in snapshot.events_of(ref)][:1]
        evidence = (
            quote(ref, "is Pending: " + " ".join(told)),
            quote(ref, f"asks for {dict(claim.get('spec') or {})}"),
            quote(volume, f"offers {dict(snapshot.manifest(volume).get('spec') or {})}"),
        )
        yield Finding(f"claim-{mismatch}", workload, 0.94, evidence, _blames(snapshot, ref, volume, mismatch))


def _distance(
    snapshot: Snapshot, claim: Ref, volume: Ref, mismatches: list[Mismatch]
) -> tuple[bool, int, bool, bool, Ref]:
    """The volume that comes closest is the one that was meant; its first mismatch is the cause.

    One that the claim names is meant whatever else differs; of equals a free one, then one that is declared here too.
    """
    is_named = dig(snapshot.manifest(claim), "spec.volumeName") == volume.name
    return (not is_named, len(mismatches), "occupied" in mismatches, volume not in snapshot.declared, volume)


def _blames(snapshot: Snapshot, claim: Ref, volume: Ref, mismatch: Mismatch) -> tuple[Field, ...]:
    match mismatch:
        case "class":
            return (Field(claim, "spec.storageClassName"), Field(volume, "spec.storageClassName"))
        case "selector":
            keys = dig(snapshot.manifest(claim), "spec.selector.matchLabels") or {}
            return (Field(claim, "spec.selector"), *(Field(volume, f"metadata.labels.{key}") for key in keys))
        case "access-mode":
            return (Field(claim, "spec.accessModes"), Field(volume, "spec.accessModes"))
        case "capacity":
            return (Field(claim, "spec.resources.requests.storage"), Field(volume, "spec.capacity.storage"))
        case "occupied":
            # The claim's own volume was never declared here; the last known good may hold it under any name.
            return (Field(claim, "spec.volumeName"), Field(Ref(_VOLUME, ANY_ABSENT), ""))


_DENIED = re.compile(r"permission denied|read-only file system|operation not permitted", re.IGNORECASE)


def _find_denied(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        mounts = [
            (container, mount)
            for container in containers_of(snapshot.manifest(workload))
            for mount in container.get("volumeMounts") or ()
        ]
        if not mounts or not is_short(snapshot, workload):
            continue
        lines = [line for line in snapshot.logs_of(workload.name) if _DENIED.search(line.text)]
        if lines:
            _, mount = mounts[0]
            evidence = [quote_line(f"log of {workload.name}", line.text, _DENIED) for line in lines[:2]]
            evidence.append(quote(workload, f"mounts volume {mount['name']} at {mount.get('mountPath')}"))
            yield Finding("volume-permission", workload, 0.93, tuple(evidence))


_TITLES: dict[Mismatch, str] = {
    "class": "The claim and the volume have different storage classes",
    "selector": "The claim's selector matches no volume",
    "access-mode": "No volume offers the claim's access mode",
    "capacity": "No volume is as large as the claim asks",
    "occupied": "The volume that would fit is bound to another claim",
}


def _rule(mismatch: Mismatch) -> Rule:
    return Rule(
        id=f"claim-{mismatch}",
        title=_TITLES[mismatch],
        holds=f"a claim that a short workload mounts is Pending, and the volume closest to it differs: {mismatch}",
        mending="put back claim and volume as they were bound last",
        proof="the claim is Bound",
        repair="patch",
        find=lambda snapshot: _find(snapshot, mismatch),
    )


RULES = (
    *(_rule(mismatch) for mismatch in _TITLES),
    Rule(
        id="volume-permission",
        title="The process may not read or write its volume",
        holds="a short workload's log says permission denied, and it mounts a volume",
        mending="compare the owner of the files with the user of the process; data decides, not the manifest",
        proof="ready, and no such line",
        repair="escalate",
        find=_find_denied,
    ),
)
