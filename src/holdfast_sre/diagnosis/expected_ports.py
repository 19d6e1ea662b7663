"""Which ports of which services the settings of workloads name: what several agree on is how it was meant."""

from __future__ import annotations

import re

from holdfast_sre.evidence.snapshot import Snapshot, containers_of

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
