"""The registry's host is known, and there is no talking to it."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.images.pulls import failed_pulls
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for pull in failed_pulls(snapshot, "away"):
        yield Finding("image-registry-unreachable", pull.workload, 0.9, pull.evidence, (pull.field,))


RULE = Rule(
    id="image-registry-unreachable",
    title="The image's registry does not answer",
    holds="a container waits for its image, and the registry's host resolves but cannot be talked to",
    mending="put back the last image that ran; where the registry is right, mend the way to it or use a mirror",
    proof="the pull succeeds",
    repair="patch",
    find=_find,
)
