"""The containers of a pod share its network, and so its ports."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.rules.shared_ports.port_in_use import IN_USE
from holdfast_sre.diagnosis.symptoms import container_path, is_short
from holdfast_sre.evidence.snapshot import Snapshot, containers_of


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    """Two containers of one pod that open the same port: they share the pod's network."""
    for workload in snapshot.workloads:
        owners: dict[tuple[str, str], str] = {}
        for item in containers_of(snapshot.manifest(workload)):
            for port in item.get("ports") or ():
                key = (str(port.get("containerPort")), str(port.get("protocol") or "TCP"))
                first = owners.setdefault(key, str(item["name"]))
                lines = [line for line in snapshot.logs_of(workload.name) if IN_USE.search(line.text)]
                if first == item["name"] or not (lines or is_short(snapshot, workload)):
                    continue
                evidence = [quote(workload, f"containers {first} and {item['name']} both open port {key[0]}")]
                evidence += [quote_line(f"log of {workload.name}", lines[0].text, IN_USE)] if lines else []
                paths = [f"{container_path(name)}.ports" for name in (first, str(item["name"]))]
                blames = tuple(Field(workload, path) for path in paths)
                yield Finding("container-port-shared", workload, 0.95 if lines else 0.7, tuple(evidence), blames)


RULE = Rule(
    id="container-port-shared",
    title="Two containers of a pod want the same port",
    holds="two containers of one pod open the same port, and the log or unready pods tell of it",
    mending="put back the ports",
    proof="both containers listen and are ready",
    repair="patch",
    find=_find,
)
