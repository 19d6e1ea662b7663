"""Claims that stay unbound, and the first thing in which the volume that was meant differs from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.claims import claims_of
from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.quantities import quantity
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

Mismatch = Literal["class", "selector", "access-mode", "capacity", "occupied"]
_VOLUME = "PersistentVolume"


class Unmatched(msgspec.Struct, frozen=True):
    """A claim that stays unbound, the workload that is short for want of it, and the volume that comes closest."""

    workload: Ref
    claim: Ref
    volume: Ref
    evidence: tuple[Evidence, ...]


def unmatched(snapshot: Snapshot, mismatch: Mismatch) -> Iterator[Unmatched]:
    """The claims that this mismatch keeps from being bound."""
    for workload, ref in _unbound(snapshot):
        claim = snapshot.manifest(ref)
        volumes = [
            (volume, snapshot.manifest(volume)) for volume, _ in snapshot.of_kind(_VOLUME) if snapshot.exists(volume)
        ]
        judged = {volume: _mismatches(claim, body, snapshot.live[volume]) for volume, body in volumes}
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
        yield Unmatched(workload, ref, volume, evidence)


def _unbound(snapshot: Snapshot) -> Iterator[tuple[Ref, Ref]]:
    """Workloads that are short for want of a claim that stays unbound."""
    for workload in snapshot.workloads:
        for claim in claims_of(snapshot, workload):
            phase = dig(snapshot.live.get(claim, {}), "status.phase")
            if phase == "Pending" and is_short(snapshot, workload):
                yield workload, claim


def _distance(
    snapshot: Snapshot, claim: Ref, volume: Ref, mismatches: list[Mismatch]
) -> tuple[bool, int, bool, bool, Ref]:
    """The volume that comes closest is the one that was meant; its first mismatch is the cause.

    One that the claim names is meant whatever else differs; of equals a free one, then one that is declared here too.
    """
    is_named = dig(snapshot.manifest(claim), "spec.volumeName") == volume.name
    return (not is_named, len(mismatches), "occupied" in mismatches, volume not in snapshot.declared, volume)


def _mismatches(claim: Manifest, volume: Manifest, live: Manifest) -> list[Mismatch]:
    found: list[Mismatch] = []
    if _class(claim) != _class(volume):
        found.append("class")
    if not _labels_match(claim, volume):
        found.append("selector")
    if set(dig(claim, "spec.accessModes") or ()) - set(dig(volume, "spec.accessModes") or ()):
        found.append("access-mode")
    asked = quantity(dig(claim, "spec.resources.requests.storage"))
    offered = quantity(dig(volume, "spec.capacity.storage"))
    if asked is not None and offered is not None and asked > offered:
        found.append("capacity")
    bound = dig(live, "spec.claimRef.name")
    if bound and bound != dig(claim, "metadata.name"):
        found.append("occupied")
    return found


def _class(manifest: Manifest) -> str:
    return str(dig(manifest, "spec.storageClassName") or "")


def _labels_match(claim: Manifest, volume: Manifest) -> bool:
    wanted: Mapping[str, str] = dig(claim, "spec.selector.matchLabels") or {}
    labels: Mapping[str, str] = dig(volume, "metadata.labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())
