"""A node that is not ready for a reason which neither it nor its host tells."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote
from holdfast_sre.diagnosis.rules.nodes.unready import unwatched
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for found in unwatched(snapshot):
        if found.blamed is None:
            text = f"Ready is {found.status}: {found.message}"
            yield Finding("node-not-ready", found.node, 0.8, (quote(found.node, text),))


RULE = Rule(
    id="node-not-ready",
    title="A node is not ready",
    holds="the node's Ready condition is not True, and nothing is recorded about its programs",
    mending="look at kubelet and container runtime on the node; cordon it meanwhile",
    proof="the node is Ready, pods start",
    repair="escalate",
    find=_find,
)
