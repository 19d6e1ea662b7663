"""Who calls whom, as the settings of the workloads tell: an address in the environment that names a service."""

from __future__ import annotations

import re

from holdfast_sre.evidence.snapshot import Snapshot, containers_of

_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*://)?(?:[^@/\s]*@)?(?P<host>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?=[.:/]|$)")


def calls_of(snapshot: Snapshot) -> dict[str, tuple[str, ...]]:
    """By name of a workload the services that its containers' settings name."""
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    found: dict[str, tuple[str, ...]] = {}
    for workload in snapshot.workloads:
        names = []
        for container in containers_of(snapshot.manifest(workload)):
            for entry in container.get("env") or ():
                match = _ADDRESS.match(str(entry.get("value") or ""))
                if match and match["host"] in services and match["host"] != workload.name:
                    names.append(match["host"])
        if names:
            found[workload.name] = tuple(dict.fromkeys(names))
    return found
