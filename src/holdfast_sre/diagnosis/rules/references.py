"""Containers that cannot be configured or mounted: a secret, a config map or one of their keys is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.symptoms import events_by_reason, is_short, nearest, waiting
from holdfast_sre.evidence.snapshot import Event, Ref, Snapshot

_MISSING = re.compile(r'(?P<kind>secret|configmap) "(?P<name>[^"]{1,253})" not found', re.IGNORECASE)
_NO_KEY = re.compile(
    r"couldn't find key (?P<key>[^ ,]{1,253}) in (?P<kind>Secret|ConfigMap) \S*?(?P<name>[^/ ]{1,253})$|"
    r"references non-existent (?P<sort>secret|config) key: (?P<item>[^ ,]{1,253})"
)
_KINDS = {"secret": "Secret", "configmap": "ConfigMap", "config": "ConfigMap"}
_ENDS = {
    "Secret": ("secretRef.name", "secretKeyRef.name", "secret.secretName", "secret.name"),
    "ConfigMap": ("configMapRef.name", "configMapKeyRef.name", "configMap.name"),
}
_POD = "spec.template.spec"


def _held(snapshot: Snapshot, workload: Ref) -> list[tuple[Ref, str]]:
    """What is told of the workload's pods that cannot be configured or mounted: the pod, and the text."""
    found = [
        (held.pod, held.message)
        for held in waiting(snapshot, workload)
        if held.reason == "CreateContainerConfigError" and held.message
    ]
    pods = {held.pod for held in waiting(snapshot, workload)}
    events: list[Event] = events_by_reason(snapshot, workload, "Failed", "FailedMount")
    return found + [(event.about, event.message) for event in events if event.about in pods]


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
        (Ref(_KINDS[match["kind"].lower()], match["name"]), quote(pod, text))
        for pod, text in _held(snapshot, workload)
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


def _find_key(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads if any(is_short(snapshot, ref) for ref in snapshot.workloads) else ():
        for pod, text in _held(snapshot, workload):
            match = _NO_KEY.search(text)
            if match is None or not is_short(snapshot, workload):
                continue
            key = match["key"] or match["item"]
            kind = _KINDS[(match["kind"] or match["sort"]).lower()]
            found = leaves(snapshot.manifest(workload))
            named = [Ref(kind, match["name"])] if match["name"] else _holders(found, kind, key)
            paths = [path for path, value in found.items() if value == key and path.endswith(".key")]
            evidence = [quote(pod, text)]
            evidence += [quote(workload, f"{path} asks for {key}") for path in paths[:1]]
            blames = [Field(workload, path) for path in paths]
            blames += [Field(ref, f"{part}.{key}") for ref in named for part in ("data", "stringData")]
            yield Finding("reference-key-missing", workload, 0.95, tuple(evidence), tuple(blames))
            break


def _holders(found: Mapping[str, str], kind: str, key: str) -> list[Ref]:
    """The objects of a kind out of which a volume takes the key."""
    places = [path for path, text in found.items() if text == key and path.endswith(".key") and ".items[" in path]
    prefixes = [path.partition(".items[")[0] for path in places]
    return [Ref(kind, text) for path, text in found.items() if path.rpartition(".")[0] in prefixes]


def _used(snapshot: Snapshot) -> set[str]:
    """Names of secrets and config maps that workloads name."""
    ends = ("Ref.name", "secretName", "configMap.name")
    return {
        text
        for workload in snapshot.workloads
        for path, text in leaves(snapshot.manifest(workload)).items()
        if path.endswith(ends)
    }


def _misnamed(snapshot: Snapshot, missing: Ref) -> Ref | None:
    """A declared object that nobody uses and whose name is nearly the missing one: the same object, misspelt."""
    candidates = {ref.name: ref for ref in snapshot.declared if ref.kind == missing.kind and ref != missing}
    used = _used(snapshot)
    name = nearest(missing.name, [name for name in candidates if name not in used], at_least=0.85)
    return candidates[name] if name else None


RULES = (
    Rule(
        id="reference-missing",
        title="A secret or config map that a container needs is missing",
        holds="a container waits to be configured or mounted, and the object that it names is absent now",
        mending="put back the name or the object; secrets are never invented",
        proof="the container starts",
        repair="patch",
        find=_find,
    ),
    Rule(
        id="reference-key-missing",
        title="A secret or config map lacks a key that a container needs",
        holds="a workload is short, and the kubelet says that the object it names has no such key",
        mending="put back the key's name or the key; values of secrets are never invented",
        proof="the container starts",
        repair="patch",
        find=_find_key,
    ),
)
