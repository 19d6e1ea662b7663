"""The server turns clients away because it has as many as it may."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.database.servers import troubled_servers
from holdfast_sre.evidence.snapshot import Snapshot

_FULL = re.compile(
    r"Too many connections|too many clients|max number of clients reached|remaining connection slots|"
    r"max_user_connections|max_connections|connection limit exceeded",
    re.IGNORECASE,
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for server, evidence in troubled_servers(snapshot, _FULL):
        yield Finding("database-connections", server, 0.96, evidence)


RULE = Rule(
    id="database-connections",
    title="The database has no connection left",
    holds="clients of a server are told that there are too many connections",
    mending="find who holds the connections; raise the limit or shrink the pools",
    proof="clients connect, connections under 80 % of the limit",
    repair="escalate",
    find=_find,
)
