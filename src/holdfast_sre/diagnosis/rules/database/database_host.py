"""The host of a client's settings is no service; one of nearly that name, or that its peers name, was meant."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.database.clients import (
    HOST,
    PORT,
    REFUSED,
    is_troubled,
    others_value,
    quoted,
    secrets_of,
    setting,
)
from holdfast_sre.diagnosis.symptoms import nearest
from holdfast_sre.evidence.snapshot import Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    services = {ref.name for ref, _ in snapshot.of_kind("Service") if snapshot.exists(ref)}
    for workload in snapshot.workloads if services else ():
        for ref, secret in secrets_of(snapshot, workload) if is_troubled(snapshot, workload) else ():
            host = setting(secret, HOST)
            name = host[1].split(".")[0] if host else ""
            if host is None or name in services:
                continue
            lines = [line for line in snapshot.logs_of(workload.name) if host[1] in line.text]
            usual = others_value(snapshot, ref, secret, HOST, PORT)
            meant = usual or nearest(name, sorted(services))
            if not (lines or meant):
                continue
            evidence = (
                quote(ref, f"{host[0]}={host[1]}, and there is no such service"),
                quoted(workload, lines, REFUSED),
                *((quote("settings", f"others of the same port name {meant}"),) if usual else ()),
            )
            yield Finding(
                "database-host", workload, 0.93 if lines else 0.75, evidence, (Field(ref, f"stringData.{host[0]}"),)
            )


RULE = Rule(
    id="database-host",
    title="The database's host name in the settings leads to no service",
    holds="a workload is short or restarts, and the host of its settings is no service, as log or peers tell",
    mending="put back the host name",
    proof="the connection pool starts and the pod is ready",
    repair="patch",
    find=_find,
)
