"""The image's name begins with a host that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.images.pulls import failed_pulls
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for pull in failed_pulls(snapshot, "no such host"):
        yield Finding("image-registry-unknown", pull.workload, 0.95, pull.evidence, (pull.field,))


RULE = Rule(
    id="image-registry-unknown",
    title="The image's registry host does not resolve",
    holds="a container waits for its image and the registry's host name cannot be looked up",
    mending="put back the last image that ran; where the host is right, mend the node's name resolution",
    proof="the pull succeeds",
    repair="patch",
    find=_find,
)
