"""What other workloads of the namespace say in the same place: the last resort before a person.

A sibling proves a value only where it is healthy, where at least two of them agree, where none that is healthy
disagrees, and for settings that mean the same to everybody: an address of a service, the secret that opens a registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import is_short, ready
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig

AGREEING_MIN = 2
_ENV = re.compile(r"spec\.template\.spec\.containers\[[^\]]+\]\.env\[(?P<name>[^\]]+)\]\.value")
_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+]*://)?(?P<host>[a-z0-9][a-z0-9-]*)[a-z0-9.-]*:(?P<port>[0-9]{1,5})(?:/.*)?")


def from_siblings(snapshot: Snapshot, finding: Finding) -> tuple[Change, ...]:
    """Changes of blamed settings to what all healthy siblings say; empty unless each of them is decided."""
    found = []
    for field in finding.blames:
        match = _ENV.fullmatch(field.path)
        if match is None:
            continue
        before = leaves(snapshot.declared.get(field.object, {})).get(field.path)
        after = _agreed(_values(snapshot, field, match["name"]))
        if before is None or after is None or after == before or not _is_answered(snapshot, after):
            return ()
        found.append(Change(str(field.object), field.path, before, after))
    return tuple(found)


def _values(snapshot: Snapshot, field: Field, name: str) -> Iterator[str]:
    for workload in snapshot.workloads:
        if workload == field.object or not _is_healthy(snapshot, workload):
            continue
        for container in containers_of(snapshot.manifest(workload)):
            for entry in container.get("env") or ():
                if entry.get("name") == name and isinstance(entry.get("value"), str):
                    yield entry["value"]


def _agreed(values: Iterable[str]) -> str | None:
    found = list(values)
    return found[0] if len(found) >= AGREEING_MIN and len(set(found)) == 1 else None


def _is_healthy(snapshot: Snapshot, workload: Ref) -> bool:
    return ready(snapshot.live.get(workload, {})) > 0 and not is_short(snapshot, workload)


def _is_answered(snapshot: Snapshot, value: str) -> bool:
    """Whether the value is the address of a service that exists and offers the port."""
    match = _ADDRESS.fullmatch(value)
    if match is None:
        return False
    service = Ref("Service", match["host"])
    ports = dig(snapshot.manifest(service), "spec.ports") or ()
    return snapshot.exists(service) and any(str(port.get("port")) == match["port"] for port in ports)
