"""Applications that cannot use their database: refused credentials, wrong port, no connection left, read-only.

What the driver says is matched by class. Whose fault it is follows from how many clients say it, and from whether
the client's own settings differ from those of the other clients of the same server.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Change, Evidence, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.symptoms import is_short, nearest, restarts
from holdfast_sre.evidence.snapshot import LogLine, Ref, Snapshot, containers_of, dig

_DENIED = re.compile(
    r"Access denied for user|password authentication failed|role \S+ does not exist|WRONGPASS|NOAUTH|"
    r"Authentication failed",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"Communications link failure|Connection refused|could not connect to server|ECONNREFUSED")
_FULL = re.compile(
    r"Too many connections|too many clients|max number of clients reached|remaining connection slots|"
    r"max_user_connections|max_connections|connection limit exceeded",
    re.IGNORECASE,
)
_READ_ONLY = re.compile(
    r"--(?:super-)?read-only option|read-only transaction|READONLY You can't write|is in read.?only mode", re.IGNORECASE
)
_PASSWORD = re.compile(r"PASS(?:WORD|WD)?$", re.IGNORECASE)
_PORT = re.compile(r"PORT$", re.IGNORECASE)
_HOST = re.compile(r"HOST(?:NAME)?$", re.IGNORECASE)
_USER = re.compile(r"USER(?:NAME)?$", re.IGNORECASE)

Secret = Mapping[str, str]


def _secrets_of(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[Ref, Secret]]:
    for container in containers_of(snapshot.manifest(workload)):
        for source in container.get("envFrom") or ():
            ref = Ref("Secret", str(dig(source, "secretRef.name") or ""))
            data = dig(snapshot.manifest(ref), "stringData")
            if isinstance(data, Mapping):
                yield ref, {str(key): str(value) for key, value in data.items()}


def _setting(secret: Secret, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    return next(((key, value) for key, value in secret.items() if pattern.search(key)), None)


def _lines(snapshot: Snapshot, workload: Ref, pattern: re.Pattern[str]) -> list[LogLine]:
    return [line for line in snapshot.logs_of(workload.name) if pattern.search(line.text)]


def _quoted(workload: Ref, lines: list[LogLine], pattern: re.Pattern[str]) -> Evidence:
    if lines:
        return quote_line(f"log of {workload.name}", lines[0].text, pattern)
    return quote(workload, "is short of ready pods or restarts; its log says nothing about it")


def _is_troubled(snapshot: Snapshot, workload: Ref) -> bool:
    return is_short(snapshot, workload) or any(restarts(pod) for _, pod in snapshot.pods_of(workload))


def _others_value(
    snapshot: Snapshot, own: Ref, secret: Secret, pattern: re.Pattern[str], *same: re.Pattern[str]
) -> str | None:
    """What most other secrets for the same server say, where at least two agree; None where they do not."""
    wanted = [_setting(secret, key) for key in same]
    values: Counter[str] = Counter()
    for ref, manifest in snapshot.of_kind("Secret"):
        data = dig(manifest, "stringData")
        if ref == own or not isinstance(data, Mapping):
            continue
        other = {str(key): str(value) for key, value in data.items()}
        settings = [_setting(other, key) for key in same]
        is_same = all(a is not None and b is not None and a[1] == b[1] for a, b in zip(wanted, settings, strict=True))
        value = _setting(other, pattern)
        if is_same and value:
            values[value[1]] += 1
    common = values.most_common(1)
    return common[0][0] if common and common[0][1] >= 2 else None


def _find_credentials(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        if workload.kind == "StatefulSet" or not _is_troubled(snapshot, workload):
            continue
        lines = _lines(snapshot, workload, _DENIED)
        for ref, secret in _secrets_of(snapshot, workload):
            password = _setting(secret, _PASSWORD)
            if password is None:
                continue
            usual = _others_value(snapshot, ref, secret, _PASSWORD, _HOST, _USER)
            usual = usual or _others_value(snapshot, ref, secret, _PASSWORD, _HOST) if not lines else usual
            if usual == password[1] or not (lines or usual):
                continue
            seen = (
                "differs from the password of the other clients of the same server and user" if usual else "is refused"
            )
            evidence = (quote(ref, f"{password[0]} {seen}"), _quoted(workload, lines, _DENIED))
            user = _setting(secret, _USER)
            keys = [password[0], *([user[0]] if user else [])]
            blames = tuple(Field(ref, f"{part}.{key}") for key in keys for part in ("stringData", "data"))
            yield Finding("database-credentials", workload, 0.95 if lines else 0.7, evidence, blames)


def _find_port(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        lines = _lines(snapshot, workload, _REFUSED)
        for ref, secret in _secrets_of(snapshot, workload) if _is_troubled(snapshot, workload) else ():
            port, host = _setting(secret, _PORT), _setting(secret, _HOST)
            if port is None or host is None:
                continue
            service = dig(snapshot.manifest(Ref("Service", host[1].split(".")[0])), "spec.ports") or ()
            offered = {str(entry.get("port")) for entry in service}
            usual = _others_value(snapshot, ref, secret, _PORT, _HOST)
            if port[1] in offered or (not offered and (usual is None or usual == port[1])):
                continue
            right = next(iter(offered)) if len(offered) == 1 else usual
            evidence = (
                _quoted(workload, lines, _REFUSED),
                quote(ref, f"{port[0]}={port[1]}, but service {host[1]} offers {sorted(offered) or usual}"),
            )
            path = f"stringData.{port[0]}"
            remedy = (Change(str(ref), path, port[1], right),) if right else ()
            yield Finding("database-port", workload, 0.95 if lines else 0.7, evidence, (Field(ref, path),), remedy)


def _server(snapshot: Snapshot, clients: list[Ref]) -> Ref | None:
    """The workload behind the database host that most of the complaining clients name."""
    hosts: Counter[str] = Counter()
    for client in clients:
        for _, secret in _secrets_of(snapshot, client):
            host = _setting(secret, _HOST)
            if host:
                hosts[host[1].split(".")[0]] += 1
    if not hosts:
        return None
    name = hosts.most_common(1)[0][0]
    behind = [ref for ref in snapshot.workloads if ref.name == name] or snapshot.workloads_behind(name)
    if behind:
        return behind[0]
    return Ref("Service", name)


def _find_server(snapshot: Snapshot, rule: str, pattern: re.Pattern[str], confidence: float) -> Iterator[Finding]:
    """A fault of the server that several clients tell of; the clients are its victims."""
    told = {workload: lines for workload in snapshot.workloads if (lines := _lines(snapshot, workload, pattern))}
    clients = [workload for workload in told if workload.kind != "StatefulSet"]
    server = _server(snapshot, clients)
    if server is None:
        return
    evidence = [_quoted(ref, told[ref], pattern) for ref in clients[:2]]
    evidence += [
        quote(event.about, event.message) for event in snapshot.events_under(server) if pattern.search(event.message)
    ][:1]
    yield Finding(rule, server, confidence, tuple(evidence))


def _find_host(snapshot: Snapshot) -> Iterator[Finding]:
    services = {ref.name for ref, _ in snapshot.of_kind("Service") if snapshot.exists(ref)}
    for workload in snapshot.workloads if services else ():
        for ref, secret in _secrets_of(snapshot, workload) if _is_troubled(snapshot, workload) else ():
            host = _setting(secret, _HOST)
            name = host[1].split(".")[0] if host else ""
            if host is None or name in services:
                continue
            lines = [line for line in snapshot.logs_of(workload.name) if host[1] in line.text]
            usual = _others_value(snapshot, ref, secret, _HOST, _PORT)
            meant = usual or nearest(name, sorted(services))
            if not (lines or meant):
                continue
            evidence = (
                quote(ref, f"{host[0]}={host[1]}, and there is no such service"),
                _quoted(workload, lines, _REFUSED),
                *((quote("settings", f"others of the same port name {meant}"),) if usual else ()),
            )
            yield Finding(
                "database-host", workload, 0.93 if lines else 0.75, evidence, (Field(ref, f"stringData.{host[0]}"),)
            )


RULES = (
    Rule(
        id="database-host",
        title="The database's host name in the settings leads to no service",
        holds="a workload is short or restarts, and the host of its settings is no service, as log or peers tell",
        mending="put back the host name",
        proof="the connection pool starts and the pod is ready",
        repair="patch",
        find=_find_host,
    ),
    Rule(
        id="database-credentials",
        title="The database refuses the credentials",
        holds="a workload is short or restarts, and its password is refused or differs from that of its peers",
        mending="put back the credentials that worked; without a last known good a person sets them",
        proof="the connection pool starts and the pod is ready",
        repair="patch",
        find=_find_credentials,
    ),
    Rule(
        id="database-port",
        title="The database's port is wrong in the settings",
        holds="a workload is short or restarts, and the server's service does not offer the port of its settings",
        mending="put back the port, or take the only one that the service offers",
        proof="the connection pool starts and the pod is ready",
        repair="patch",
        find=_find_port,
    ),
    Rule(
        id="database-connections",
        title="The database has no connection left",
        holds="clients of a server are told that there are too many connections",
        mending="find who holds the connections; raise the limit or shrink the pools",
        proof="clients connect, connections under 80 % of the limit",
        repair="escalate",
        find=lambda snapshot: _find_server(snapshot, "database-connections", _FULL, 0.96),
    ),
    Rule(
        id="database-read-only",
        title="The database is read-only",
        holds="clients of a server are told that it is read-only",
        mending="find why it is read-only (fail-over, full disk, a setting) before it is set back",
        proof="writes succeed",
        repair="escalate",
        find=lambda snapshot: _find_server(snapshot, "database-read-only", _READ_ONLY, 0.96),
    ),
)
