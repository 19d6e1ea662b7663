"""A claim that asks for more than the closest volume holds."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule
from holdfast_sre.diagnosis.rules.storage.mismatches import unmatched
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unmatched(snapshot, "capacity"):
        blames = (
            Field(found.claim, "spec.resources.requests.storage"),
            Field(found.volume, "spec.capacity.storage"),
        )
        yield Finding("claim-capacity", found.workload, 0.94, found.evidence, blames)


RULE = Rule(
    id="claim-capacity",
    title="No volume is as large as the claim asks",
    holds="a claim that a short workload mounts is Pending, and the volume closest to it differs: capacity",
    mending="put back claim and volume as they were bound last",
    proof="the claim is Bound",
    repair="patch",
    find=_find,
)
