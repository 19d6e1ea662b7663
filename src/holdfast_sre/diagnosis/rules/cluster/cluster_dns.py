"""One workload that cannot look up names may be at fault itself; where many cannot, the name service is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote_line
from holdfast_sre.evidence.snapshot import Ref, Snapshot, pod_spec_of

_UNRESOLVED = re.compile(
    r"UnknownHostException|no such host|Name or service not known|failure in name resolution|EAI_AGAIN|ENOTFOUND|"
    r"lookup \S+(?: on \S+)?: (?:i/o timeout|server misbehaving)"
)
CLIENTS_MIN = 3
CLIENTS_SHARE = 0.3


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    told: dict[str, str] = {}
    for line in snapshot.logs:
        if _UNRESOLVED.search(line.text):
            told.setdefault(line.workload, line.text)
    own = {ref.name for ref in snapshot.workloads if pod_spec_of(snapshot.manifest(ref)).get("dnsPolicy") == "None"}
    clients = sorted(name for name in told if name not in own)
    hosts = [name for name, _ in snapshot.of_kind("Service") if snapshot.exists(name)]
    named = [name for name in clients if any(service.name in told[name] for service in hosts)]
    if len(named) >= CLIENTS_MIN and len(named) >= CLIENTS_SHARE * len(snapshot.workloads):
        evidence = tuple(quote_line(f"log of {name}", told[name], _UNRESOLVED) for name in named[:3])
        yield Finding("cluster-dns", Ref("Namespace", snapshot.namespace), 0.85, evidence)


RULE = Rule(
    id="cluster-dns",
    title="The cluster's name service does not answer",
    holds=f"at least {CLIENTS_MIN} workloads, and many of all, cannot look up names of services that exist",
    mending="look at the pods of the cluster's name service, its config map and the nodes' way to it",
    proof="look-ups succeed",
    repair="escalate",
    find=_find,
)
