"""The secret or config map that a pod waits for is absent now; one that may be absent is never missed."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.references.held_back import KINDS, held_back
from holdfast_sre.diagnosis.symptoms import nearest, waiting
from holdfast_sre.evidence.snapshot import Ref, Snapshot

_MISSING = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]{1,253})" not found', re.IGNORECASE)
_ENDS = {
    "Secret": ("secretRef.name", "secretKeyRef.name", "secret.secretName", "secret.name"),
    "ConfigMap": ("configMapRef.name", "configMapKeyRef.name", "configMap.name"),
}
_POD = "spec.template.spec"


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        told = _told(snapshot, workload)
        missing = next((ref for ref, _ in told if ref not in snapshot.live), None)
        evidence: list[Evidence] = [item for ref, item in told if ref == missing][:1]
        confidence = 0.96
        if missing is None:
            missing, confidence = _unrecorded(snapshot, workload), 0.85
            evidence = [quote(workload, "a container waits to be configured")]
        paths = _references(snapshot, workload, missing) if missing else []
        if missing is None or not paths:
            continue
        evidence.append(quote(workload, f"{paths[0]} names {missing}, which is absent"))
        orphan = _misnamed(snapshot, missing)
        if orphan:
            evidence.append(
                quote(orphan, "is declared, nobody uses it, and its name is nearly the one that is missing")
            )
        blames = [Field(workload, path) for path in paths] + [Field(missing, "")]
        blames += [Field(orphan, "")] if orphan else []
        yield Finding("reference-missing", workload, confidence, tuple(evidence), tuple(blames))


def _told(snapshot: Snapshot, workload: Ref) -> list[tuple[Ref, Evidence]]:
    return [
        (Ref(KINDS[match["kind"].lower()], match["name"]), quote(pod, text))
        for pod, text in held_back(snapshot, workload)
        if (match := _MISSING.search(text))
    ]


def _unrecorded(snapshot: Snapshot, workload: Ref) -> Ref | None:
    """An object that a container waits for, where no event tells its name: one that the cluster does not have."""
    if not any(held.reason == "CreateContainerConfigError" for held in waiting(snapshot, workload)):
        return None
    recorded = {ref.kind for ref in snapshot.live}
    for path, text in leaves(snapshot.manifest(workload)).items():
        for kind, ends in _ENDS.items():
            ref = Ref(kind, text)
            if kind in recorded and path.startswith(_POD) and path.endswith(ends) and ref not in snapshot.live:
                return ref
    return None


def _references(snapshot: Snapshot, workload: Ref, missing: Ref) -> list[str]:
    """The paths in the workload where an object is named; one that may be absent is not asked for."""
    found = leaves(snapshot.manifest(workload))
    return [
        path
        for path, text in found.items()
        if text == missing.name
        and path.startswith(_POD)
        and path.endswith(_ENDS[missing.kind])
        and found.get(f"{path.rpartition('.')[0]}.optional", "").lower() != "true"
    ]


def _misnamed(snapshot: Snapshot, missing: Ref) -> Ref | None:
    """A declared object that nobody uses and whose name is nearly the missing one: the same object, misspelt."""
    candidates = {ref.name: ref for ref in snapshot.declared if ref.kind == missing.kind and ref != missing}
    used = _used(snapshot)
    name = nearest(missing.name, [name for name in candidates if name not in used], at_least=0.85)
    return candidates[name] if name else None


def _used(snapshot: Snapshot) -> set[str]:
    """Names of secrets and config maps that workloads name."""
    ends = ("Ref.name", "secretName", "configMap.name")
    return {
        text
        for workload in snapshot.workloads
        for path, text in leaves(snapshot.manifest(workload)).items()
        if path.endswith(ends)
    }


RULE = Rule(
    id="reference-missing",
    title="A secret or config map that a container needs is missing",
    holds="a container waits to be configured or mounted, and the object that it names is absent now",
    mending="put back the name or the object; secrets are never invented",
    proof="the container starts",
    repair="patch",
    find=_find,
)
