"""The last sieve: no node that would take the pod has so much memory left."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.placement.requests import too_large

RULE = Rule(
    id="memory-request-too-large",
    title="Asks for more memory than any node has left",
    holds="a pod waits, the scheduler says insufficient memory, and no open node has room for the request",
    mending="put back the last request that was placed; where the cluster is full a person adds nodes",
    proof="the pod is placed and becomes ready",
    repair="patch",
    find=lambda snapshot: too_large(snapshot, "memory-request-too-large", "memory"),
)
