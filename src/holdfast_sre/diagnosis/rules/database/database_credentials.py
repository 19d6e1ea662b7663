"""A password that is refused, or unlike that of the other clients. Its value is neither quoted nor computed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.database.clients import (
    HOST,
    PASSWORD,
    USER,
    is_troubled,
    log_lines,
    others_value,
    quoted,
    secrets_of,
    setting,
)
from holdfast_sre.evidence.snapshot import Snapshot

_DENIED = re.compile(
    r"Access denied for user|password authentication failed|role \S+ does not exist|WRONGPASS|NOAUTH|"
    r"Authentication failed",
    re.IGNORECASE,
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        if workload.kind == "StatefulSet" or not is_troubled(snapshot, workload):
            continue
        lines = log_lines(snapshot, workload, _DENIED)
        for ref, secret in secrets_of(snapshot, workload):
            password = setting(secret, PASSWORD)
            if password is None:
                continue
            usual = others_value(snapshot, ref, secret, PASSWORD, HOST, USER)
            usual = usual or others_value(snapshot, ref, secret, PASSWORD, HOST) if not lines else usual
            if usual == password[1] or not (lines or usual):
                continue
            seen = (
                "differs from the password of the other clients of the same server and user" if usual else "is refused"
            )
            evidence = (quote(ref, f"{password[0]} {seen}"), quoted(workload, lines, _DENIED))
            user = setting(secret, USER)
            keys = [password[0], *([user[0]] if user else [])]
            blames = tuple(Field(ref, f"{part}.{key}") for key in keys for part in ("stringData", "data"))
            yield Finding("database-credentials", workload, 0.95 if lines else 0.7, evidence, blames)


RULE = Rule(
    id="database-credentials",
    title="The database refuses the credentials",
    holds="a workload is short or restarts, and its password is refused or differs from that of its peers",
    mending="put back the credentials that worked; without a last known good a person sets them",
    proof="the connection pool starts and the pod is ready",
    repair="patch",
    find=_find,
)
