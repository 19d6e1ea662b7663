"""The registry answers, and has no such image."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.images.pulls import failed_pulls
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for pull in failed_pulls(snapshot, "no such image"):
        yield Finding("image-not-found", pull.workload, 0.96, pull.evidence, (pull.field,))


RULE = Rule(
    id="image-not-found",
    title="Image name or tag does not exist",
    holds="a container waits for its image and the registry answers that this very image is not found",
    mending="put back the last image that ran",
    proof="the new pods become ready without pull events",
    repair="patch",
    find=_find,
)
