"""Services that are not there, or not at the port that several others expect."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.latency import callees
from holdfast_sre.diagnosis.symptoms import unreached, was_tried
from holdfast_sre.evidence.snapshot import Snapshot, containers_of, dig

_ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+]*://)?(?P<host>[a-z0-9][a-z0-9-]*)(?:\.[a-z0-9.-]+)?:(?P<port>[0-9]{1,5})(?:/.*)?"
)
AGREEING_MIN = 2


def expected_ports(snapshot: Snapshot) -> dict[str, dict[int, set[str]]]:
    """By service and port the workloads whose settings name it."""
    found: dict[str, dict[int, set[str]]] = {}
    for workload in snapshot.workloads:
        for container in containers_of(snapshot.manifest(workload)):
            for entry in container.get("env") or ():
                match = _ADDRESS.fullmatch(str(entry.get("value", "")))
                if match:
                    found.setdefault(match["host"], {}).setdefault(int(match["port"]), set()).add(workload.name)
    return found


def _find_port(snapshot: Snapshot) -> Iterator[Finding]:
    expected = expected_ports(snapshot)
    for ref, service in snapshot.of_kind("Service"):
        ports = [port for port in dig(service, "spec.ports") or () if isinstance(port.get("port"), int)]
        offered = {port["port"] for port in ports}
        for number, names in sorted(expected.get(ref.name, {}).items()):
            if number in offered or len(names) < AGREEING_MIN or not snapshot.exists(ref):
                continue
            path = f"spec.ports[{ports[0].get('name') or 0}].port" if ports else "spec.ports"
            remedy = (Change(str(ref), path, str(ports[0]["port"]), str(number)),) if len(ports) == 1 else ()
            evidence = (
                quote(ref, f"offers {sorted(offered)}"),
                quote("settings", f"{', '.join(sorted(names))} expect port {number}"),
            )
            yield Finding("service-port", ref, 0.96, evidence, (Field(ref, "spec.ports"),), remedy)


def _find_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """Services that the manifests declare or that settings name, and that the cluster does not have."""
    if not any(ref.kind == "Service" for ref in snapshot.live):
        return
    edges = callees(snapshot)
    for ref in sorted(snapshot.declared):
        if ref.kind != "Service" or snapshot.exists(ref) or snapshot.addresses_of(ref.name):
            continue
        callers = sorted(name for name, below in edges.items() if ref.name in below and name != ref.name)
        evidence = [quote(ref, "is declared, but the cluster does not have it")]
        is_unreached = unreached(snapshot, ref.name)
        if was_tried(snapshot, ref.name) and not is_unreached:
            continue  # So it is there, and was not recorded.
        evidence += [quote(ref, "a connection to it fails")] if is_unreached else []
        evidence += [quote(ref, f"is called by {', '.join(callers[:6])}")] if callers else []
        lines = [line for line in snapshot.logs if ref.name in line.text and "no such host" in line.text]
        evidence += [quote(f"log of {line.workload}", line.text) for line in lines[:1]]
        if len(evidence) > 1:
            yield Finding("service-missing", ref, 0.9 if is_unreached or lines else 0.4, tuple(evidence))


RULES = (
    Rule(
        id="service-port",
        title="The service is not at the port that others expect",
        holds=f"at least {AGREEING_MIN} workloads agree in their settings on a port that the service does not offer",
        mending="put back the port, or take the one that the others agree on",
        proof="the callers' connections succeed",
        repair="patch",
        find=_find_port,
    ),
    Rule(
        id="service-missing",
        title="A declared service is not there",
        holds="the manifests declare a service that the cluster does not have, and others call it or cannot reach it",
        mending="find who deleted it; let the deployment controller apply the manifests again",
        proof="the service exists and a connection to it succeeds",
        repair="escalate",
        find=_find_missing,
    ),
)
