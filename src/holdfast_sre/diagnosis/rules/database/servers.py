"""The server that several clients complain of; they are its victims."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.diagnosis.rules.database.clients import HOST, log_lines, quoted, secrets_of, setting
from holdfast_sre.evidence.snapshot import Ref, Snapshot


def troubled_servers(snapshot: Snapshot, pattern: re.Pattern[str]) -> Iterator[tuple[Ref, tuple[Evidence, ...]]]:
    """The server whose clients' logs the pattern is in, with what they and its own events say; at most one."""
    told = {workload: lines for workload in snapshot.workloads if (lines := log_lines(snapshot, workload, pattern))}
    clients = [workload for workload in told if workload.kind != "StatefulSet"]
    server = _server(snapshot, clients)
    if server is None:
        return
    evidence = [quoted(ref, told[ref], pattern) for ref in clients[:2]]
    evidence += [
        quote(event.about, event.message) for event in snapshot.events_under(server) if pattern.search(event.message)
    ][:1]
    yield server, tuple(evidence)


def _server(snapshot: Snapshot, clients: list[Ref]) -> Ref | None:
    """The workload behind the database host that most of the complaining clients name."""
    hosts: Counter[str] = Counter()
    for client in clients:
        for _, secret in secrets_of(snapshot, client):
            host = setting(secret, HOST)
            if host:
                hosts[host[1].split(".")[0]] += 1
    if not hosts:
        return None
    name = hosts.most_common(1)[0][0]
    behind = [ref for ref in snapshot.workloads if ref.name == name] or snapshot.workloads_behind(name)
    if behind:
        return behind[0]
    return Ref("Service", name)
