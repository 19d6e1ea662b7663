"""The program is there, and is built for another architecture than the node's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.commands.endings import complaints, failing, fields
from holdfast_sre.evidence.snapshot import Snapshot

_PLATFORM = re.compile(r"exec format error|cannot execute binary file", re.IGNORECASE)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in failing(snapshot):
        evidence = complaints(snapshot, workload, _PLATFORM)
        if evidence:
            yield Finding("container-platform", workload, 0.9, evidence, fields(snapshot, workload, "image"))


RULE = Rule(
    id="container-platform",
    title="The image is for another kind of machine",
    holds="a workload is short, its container ends or cannot start, and the kernel refuses the program's format",
    mending="put back the last image that ran, or take one that is built for the nodes' architecture",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=_find,
)
