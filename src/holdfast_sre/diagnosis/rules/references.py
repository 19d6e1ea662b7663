"""Containers that cannot be configured: a secret, a config map or one of its keys is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import container_path, declared_container, events_by_reason, nearest, waiting
from holdfast_sre.evidence.snapshot import Ref, Snapshot

_MISSING = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]+)" not found')
_KINDS = {"secret": "Secret", "configmap": "ConfigMap"}


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        for held in waiting(snapshot, workload):
            if held.reason != "CreateContainerConfigError":
                continue
            texts = [held.message, *(event.message for event in events_by_reason(snapshot, workload, "Failed"))]
            match = next((match for text in texts if (match := _MISSING.search(text))), None)
            if match is None:
                continue
            missing = Ref(_KINDS[match["kind"]], match["name"])
            paths = _references(snapshot, workload, held.container, missing)
            if not paths or missing in snapshot.live:
                continue
            evidence = [quote(held.pod, match.string), quote(workload, f"{paths[0]} names {missing}, which is absent")]
            orphan = _misnamed(snapshot, missing)
            if orphan:
                evidence.append(
                    quote(orphan, "is declared, nobody uses it, and its name is nearly the one that is missing")
                )
            blames = [Field(workload, path) for path in paths] + [Field(missing, "")]
            blames += [Field(orphan, "")] if orphan else []
            yield Finding("reference-missing", workload, 0.96, tuple(evidence), tuple(blames))
            break


def _references(snapshot: Snapshot, workload: Ref, container: str, missing: Ref) -> list[str]:
    """The paths in the container where the missing object is named."""
    keys = (
        ("secretRef.name", "secretKeyRef.name")
        if missing.kind == "Secret"
        else ("configMapRef.name", "configMapKeyRef.name")
    )
    found = leaves(declared_container(snapshot, workload, container))
    return [
        f"{container_path(container)}.{path}"
        for path, text in found.items()
        if text == missing.name and path.endswith(keys)
    ]


def _is_used(snapshot: Snapshot, ref: Ref) -> bool:
    ends = ("Ref.name", "secretName", "configMap.name")
    return any(
        text == ref.name and path.endswith(ends)
        for workload in snapshot.workloads
        for path, text in leaves(snapshot.manifest(workload)).items()
    )


def _candidates(snapshot: Snapshot, missing: Ref) -> Mapping[str, Ref]:
    return {ref.name: ref for ref in snapshot.declared if ref.kind == missing.kind and ref != missing}


def _misnamed(snapshot: Snapshot, missing: Ref) -> Ref | None:
    """A declared object that nobody uses and whose name is nearly the missing one: the same object, misspelt."""
    candidates = _candidates(snapshot, missing)
    unused = [name for name, ref in candidates.items() if not _is_used(snapshot, ref)]
    name = nearest(missing.name, unused, at_least=0.85)
    return candidates[name] if name else None


RULES = (
    Rule(
        id="reference-missing",
        title="A secret or config map that a container needs is missing",
        holds="a container waits with CreateContainerConfigError, and the object that it names is absent now",
        mending="put back the name or the object; secrets are never invented",
        proof="the container starts",
        repair="patch",
        find=_find,
    ),
)
