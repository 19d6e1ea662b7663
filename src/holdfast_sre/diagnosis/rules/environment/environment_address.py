"""The variable is at fault only where no several others agree with it; then the service is what changed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.expected_ports import AGREEING_MIN, expected_ports
from holdfast_sre.diagnosis.findings import Change, Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.symptoms import container_path, is_short, nearest, restarts
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig

_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+]*://)?(?P<host>[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?):(?P<port>[0-9]{1,5})(?:/.*)?")


def _services(snapshot: Snapshot) -> dict[str, set[int]]:
    return {
        ref.name: {int(port["port"]) for port in dig(service, "spec.ports") or () if port.get("port")}
        for ref, service in snapshot.of_kind("Service")
        if snapshot.exists(ref)
    }


def _complaints(snapshot: Snapshot, workload: str, host: str, port: str) -> list[Evidence]:
    """Lines of the workload's own log that name the address, or its port on the service's virtual address."""
    signs = (f"{host}:{port}", f":{port}: connect: connection refused", f":{port}: i/o timeout", f"lookup {host} ")
    lines = [line for line in snapshot.logs_of(workload) if any(sign in line.text for sign in signs)]
    return [quote(f"log of {workload}", line.text) for line in lines[:2]]


def _is_troubled(snapshot: Snapshot, workload: Ref, host: str, services: dict[str, set[int]]) -> bool:
    """Whether a workload that names a host that is nearly a service's is short or restarts."""
    is_down = is_short(snapshot, workload) or any(restarts(pod) for _, pod in snapshot.pods_of(workload))
    return is_down and nearest(host, sorted(services), at_least=0.85) is not None


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    services, expected = _services(snapshot), expected_ports(snapshot)
    declared = {ref.name for ref, _ in snapshot.of_kind("Service")}
    for workload in snapshot.workloads:
        for container in containers_of(snapshot.manifest(workload)):
            for entry in container.get("env") or ():
                match = _ADDRESS.fullmatch(str(entry.get("value", "")))
                if match is None:
                    continue
                host, port = match["host"].split(".")[0], match["port"]
                if int(port) in services.get(host, ()) or (host not in services and host in declared):
                    continue  # Right, or the service itself is what is missing.
                if host in services and len(expected.get(host, {}).get(int(port), ())) >= AGREEING_MIN:
                    continue  # Several agree on it: the service is what changed.
                complaints = _complaints(snapshot, workload.name, match["host"], port)
                is_misspelt = host not in services and _is_troubled(snapshot, workload, host, services)
                if complaints or host in services or is_misspelt:
                    yield _finding(workload, container["name"], entry, services, host, port, complaints)


def _finding(
    workload: Ref,
    container: str,
    entry: dict[str, str],
    services: dict[str, set[int]],
    host: str,
    port: str,
    complaints: list[Evidence],
) -> Finding:
    path = f"{container_path(container)}.env[{entry['name']}].value"
    offered = services.get(host)
    seen = f"offers only {sorted(offered)}" if offered else "does not exist"
    evidence = (quote(workload, f"{entry['name']}={entry['value']}, but service {host} {seen}"), *complaints)
    remedy: tuple[Change, ...] = ()
    meant = host if offered else nearest(host, sorted(services))
    ports = services.get(meant or "", set())
    if meant and len(ports) == 1:
        right = entry["value"].replace(f"{host}:{port}", f"{meant}:{next(iter(ports))}")
        remedy = (Change(str(workload), path, entry["value"], right),)
    confidence = 0.94 if complaints else 0.6
    return Finding("environment-address", workload, confidence, evidence, (Field(workload, path),), remedy)


RULE = Rule(
    id="environment-address",
    title="An address in the environment leads to no service",
    holds="a variable names a port that the service does not offer, or a host that the log complains of",
    mending="put back the variable, or take the only port of the service it names",
    proof="the complaints stop",
    repair="patch",
    find=_find,
)
