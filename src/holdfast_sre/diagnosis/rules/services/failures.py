"""Whether connections to a service fail: as tried, or as its callers' logs complain."""

from __future__ import annotations

import re

from holdfast_sre.diagnosis.findings import Evidence, quote, quote_line
from holdfast_sre.diagnosis.rules.services.routes import is_ready
from holdfast_sre.diagnosis.symptoms import unreached, was_tried
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig

_FAILED = re.compile(
    r"connection refused|i/o timeout|connect timed out|no route to host|ECONNREFUSED|ETIMEDOUT|"
    r"connect error|Unavailable",
    re.IGNORECASE,
)


def certainty(snapshot: Snapshot, service: Ref, behind: list[Ref], tried: float) -> float:
    """How sure a mismatch is: `tried` where a connection failed, less where a caller complains, 0 where neither, or
    where no pod behind the service is ready.
    """
    if not any(is_ready(snapshot, workload) for workload in behind):
        return 0.0
    if was_tried(snapshot, service.name):
        return tried if unreached(snapshot, service.name) else 0.0
    return 0.85 if complaints(snapshot, service) else 0.0


def quoted_failure(snapshot: Snapshot, service: Ref) -> tuple[Evidence, ...]:
    """A connection to the service that failed, or else what a caller complains of; empty where neither."""
    failed = [probe for probe in snapshot.probes if probe.service == service.name and not probe.reached]
    told = tuple(quote(f"connection to {probe.service}:{probe.port}", probe.text) for probe in failed[:1])
    return told or tuple(complaints(snapshot, service)[:1])


def complaints(snapshot: Snapshot, service: Ref) -> list[Evidence]:
    """Lines of others' logs that name the service or one of its ports beside a failed connection."""
    ports = {str(port.get("port")) for port in dig(snapshot.manifest(service), "spec.ports") or ()}
    found = []
    for line in snapshot.logs:
        if line.workload == service.name or not _FAILED.search(line.text):
            continue
        is_named = service.name in line.text or any(re.search(rf":{port}\b", line.text) for port in ports)
        if is_named:
            found.append(quote_line(f"log of {line.workload}", line.text, _FAILED))
    return found
