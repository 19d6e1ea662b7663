"""A mesh sidecar that is told to listen where the application listens."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.symptoms import container_path, is_short
from holdfast_sre.evidence.snapshot import Snapshot, containers_of, dig

_ANNOTATIONS = "spec.template.metadata.annotations"
_PORT_SETTING = re.compile(r"[Pp]ort\"?\s*[:=]\s*\"?([0-9]{1,5})")
_IN_USE = re.compile(
    r"port (?:([0-9]{1,5}) )?(?:is|was) already in use|address already in use|EADDRINUSE|bind: address", re.IGNORECASE
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        manifest = snapshot.manifest(workload)
        opened = {
            str(port.get("containerPort")) for item in containers_of(manifest) for port in item.get("ports") or ()
        }
        for key, value in (dig(manifest, _ANNOTATIONS) or {}).items():
            told = set(_PORT_SETTING.findall(str(value))) | ({str(value).strip()} if "port" in key.lower() else set())
            taken = opened & told
            lines = [line for line in snapshot.logs_of(workload.name) if _IN_USE.search(line.text)]
            if not taken or not (lines or is_short(snapshot, workload)):
                continue
            path = f"{_ANNOTATIONS}.{key}"
            evidence = (
                quote(workload, f"annotation {key}: {value}; the container opens {', '.join(sorted(opened))}"),
                quote_line(f"log of {workload.name}", lines[0].text, _IN_USE)
                if lines
                else quote(workload, "is short of ready pods"),
            )
            remedy = (Change(str(workload), path, str(value), None),)
            yield Finding("sidecar-port", workload, 0.96 if lines else 0.8, evidence, (Field(workload, path),), remedy)


def _find_shared(snapshot: Snapshot) -> Iterator[Finding]:
    """Two containers of one pod that open the same port: they share the pod's network."""
    for workload in snapshot.workloads:
        owners: dict[tuple[str, str], str] = {}
        for item in containers_of(snapshot.manifest(workload)):
            for port in item.get("ports") or ():
                key = (str(port.get("containerPort")), str(port.get("protocol") or "TCP"))
                first = owners.setdefault(key, str(item["name"]))
                lines = [line for line in snapshot.logs_of(workload.name) if _IN_USE.search(line.text)]
                if first == item["name"] or not (lines or is_short(snapshot, workload)):
                    continue
                evidence = [quote(workload, f"containers {first} and {item['name']} both open port {key[0]}")]
                evidence += [quote_line(f"log of {workload.name}", lines[0].text, _IN_USE)] if lines else []
                paths = [f"{container_path(name)}.ports" for name in (first, str(item["name"]))]
                blames = tuple(Field(workload, path) for path in paths)
                yield Finding("container-port-shared", workload, 0.95 if lines else 0.7, tuple(evidence), blames)


RULES = (
    Rule(
        id="container-port-shared",
        title="Two containers of a pod want the same port",
        holds="two containers of one pod open the same port, and the log or unready pods tell of it",
        mending="put back the ports",
        proof="both containers listen and are ready",
        repair="patch",
        find=_find_shared,
    ),
    Rule(
        id="sidecar-port",
        title="The sidecar takes the application's port",
        holds="an annotation gives the sidecar a port that a container opens, and the log or unready pods tell of it",
        mending="put back the annotation",
        proof="the container listens and is ready",
        repair="patch",
        find=_find,
    ),
)
