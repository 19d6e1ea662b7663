"""A mesh adds its sidecar to the pod by itself; which port that takes stands in an annotation."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.rules.shared_ports.port_in_use import IN_USE
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.snapshot import Snapshot, containers_of, dig

_ANNOTATIONS = "spec.template.metadata.annotations"
_PORT_SETTING = re.compile(r"[Pp]ort\"?\s*[:=]\s*\"?([0-9]{1,5})")


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        manifest = snapshot.manifest(workload)
        opened = {
            str(port.get("containerPort")) for item in containers_of(manifest) for port in item.get("ports") or ()
        }
        for key, value in (dig(manifest, _ANNOTATIONS) or {}).items():
            told = set(_PORT_SETTING.findall(str(value))) | ({str(value).strip()} if "port" in key.lower() else set())
            taken = opened & told
            lines = [line for line in snapshot.logs_of(workload.name) if IN_USE.search(line.text)]
            if not taken or not (lines or is_short(snapshot, workload)):
                continue
            path = f"{_ANNOTATIONS}.{key}"
            evidence = (
                quote(workload, f"annotation {key}: {value}; the container opens {', '.join(sorted(opened))}"),
                quote_line(f"log of {workload.name}", lines[0].text, IN_USE)
                if lines
                else quote(workload, "is short of ready pods"),
            )
            remedy = (Change(str(workload), path, str(value), None),)
            yield Finding("sidecar-port", workload, 0.96 if lines else 0.8, evidence, (Field(workload, path),), remedy)


RULE = Rule(
    id="sidecar-port",
    title="The sidecar takes the application's port",
    holds="an annotation gives the sidecar a port that a container opens, and the log or unready pods tell of it",
    mending="put back the annotation",
    proof="the container listens and is ready",
    repair="patch",
    find=_find,
)
