"""A claim that asks for a volume with labels which the closest one does not have."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.rules.storage.mismatches import unmatched
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unmatched(snapshot, "selector"):
        keys = dig(snapshot.manifest(found.claim), "spec.selector.matchLabels") or {}
        labels = (Field(found.volume, f"metadata.labels.{key}") for key in keys)
        blames = (Field(found.claim, "spec.selector"), *labels)
        yield Finding("claim-selector", found.workload, 0.94, found.evidence, blames)


RULE = Rule(
    id="claim-selector",
    title="The claim's selector matches no volume",
    holds="a claim that a short workload mounts is Pending, and the volume closest to it differs: selector",
    mending="put back claim and volume as they were bound last",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
