"""A port of the host belongs to one pod of each node."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import container_path, unplaced
from holdfast_sre.evidence.snapshot import Snapshot, containers_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload, pod, message in unplaced(snapshot):
        boxes = containers_of(snapshot.manifest(workload))
        ports = [port.get("hostPort") for box in boxes for port in box.get("ports") or () if port.get("hostPort")]
        if ports and "free ports" in message:
            evidence = (quote(pod, message), quote(workload, f"host ports: {ports}"))
            blames = tuple(Field(workload, f"{container_path(str(box['name']))}.ports") for box in boxes)
            yield Finding("host-port-taken", workload, 0.95, evidence, blames)


RULE = Rule(
    id="host-port-taken",
    title="The host port is taken on every node",
    holds="a pod waits, it asks for a port of the host, and the scheduler says that no node has it free",
    mending="put back the ports; a service needs no host port",
    proof="all pods are placed and become ready",
    repair="patch",
    find=_find,
)
