"""The port of a client's settings is not the one that the server's service offers."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.database.clients import (
    HOST,
    PORT,
    REFUSED,
    is_troubled,
    log_lines,
    others_value,
    quoted,
    secrets_of,
    setting,
)
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        lines = log_lines(snapshot, workload, REFUSED)
        for ref, secret in secrets_of(snapshot, workload) if is_troubled(snapshot, workload) else ():
            port, host = setting(secret, PORT), setting(secret, HOST)
            if port is None or host is None:
                continue
            service = dig(snapshot.manifest(Ref("Service", host[1].split(".")[0])), "spec.ports") or ()
            offered = {str(entry.get("port")) for entry in service}
            usual = others_value(snapshot, ref, secret, PORT, HOST)
            if port[1] in offered or (not offered and (usual is None or usual == port[1])):
                continue
            right = next(iter(offered)) if len(offered) == 1 else usual
            evidence = (
                quoted(workload, lines, REFUSED),
                quote(ref, f"{port[0]}={port[1]}, but service {host[1]} offers {sorted(offered) or usual}"),
            )
            path = f"stringData.{port[0]}"
            remedy = (Change(str(ref), path, port[1], right),) if right else ()
            yield Finding("database-port", workload, 0.95 if lines else 0.7, evidence, (Field(ref, path),), remedy)


RULE = Rule(
    id="database-port",
    title="The database's port is wrong in the settings",
    holds="a workload is short or restarts, and the server's service does not offer the port of its settings",
    mending="put back the port, or take the only one that the service offers",
    proof="the connection pool starts and the pod is ready",
    repair="patch",
    find=_find,
)
