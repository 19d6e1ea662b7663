"""The server takes connections and refuses writes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.database.servers import troubled_servers
from holdfast_sre.evidence.snapshot import Snapshot

_READ_ONLY = re.compile(
    r"--(?:super-)?read-only option|read-only transaction|READONLY You can't write|is in read.?only mode", re.IGNORECASE
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for server, evidence in troubled_servers(snapshot, _READ_ONLY):
        yield Finding("database-read-only", server, 0.96, evidence)


RULE = Rule(
    id="database-read-only",
    title="The database is read-only",
    holds="clients of a server are told that it is read-only",
    mending="find why it is read-only (fail-over, full disk, a setting) before it is set back",
    proof="writes succeed",
    repair="escalate",
    find=_find,
)
