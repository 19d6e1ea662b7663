"""The volume is bound and mounted, and its files belong to somebody else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.snapshot import Snapshot, containers_of

_DENIED = re.compile(r"permission denied|read-only file system|operation not permitted", re.IGNORECASE)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        mounts = [
            (container, mount)
            for container in containers_of(snapshot.manifest(workload))
            for mount in container.get("volumeMounts") or ()
        ]
        if not mounts or not is_short(snapshot, workload):
            continue
        lines = [line for line in snapshot.logs_of(workload.name) if _DENIED.search(line.text)]
        if lines:
            _, mount = mounts[0]
            evidence = [quote_line(f"log of {workload.name}", line.text, _DENIED) for line in lines[:2]]
            evidence.append(quote(workload, f"mounts volume {mount['name']} at {mount.get('mountPath')}"))
            yield Finding("volume-permission", workload, 0.93, tuple(evidence))


RULE = Rule(
    id="volume-permission",
    title="The process may not read or write its volume",
    holds="a short workload's log says permission denied, and it mounts a volume",
    mending="compare the owner of the files with the user of the process; data decides, not the manifest",
    proof="ready, and no such line",
    repair="escalate",
    find=_find,
)
