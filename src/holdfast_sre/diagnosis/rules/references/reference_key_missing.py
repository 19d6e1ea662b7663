"""The object is there, and the key that the pod wants of it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.references.held_back import KINDS, held_back
from holdfast_sre.diagnosis.symptoms import is_short
from holdfast_sre.evidence.snapshot import Ref, Snapshot

_NO_KEY = re.compile(
    r"couldn't find key (?P<key>[^ ,]{1,253}) in (?P<kind>Secret|ConfigMap) \S*?(?P<name>[^/ ]{1,253})$|"
    r"references non-existent (?P<sort>secret|config) key: (?P<item>[^ ,]{1,253})"
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in snapshot.workloads if any(is_short(snapshot, ref) for ref in snapshot.workloads) else ():
        for pod, text in held_back(snapshot, workload):
            match = _NO_KEY.search(text)
            if match is None or not is_short(snapshot, workload):
                continue
            key = match["key"] or match["item"]
            kind = KINDS[(match["kind"] or match["sort"]).lower()]
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


RULE = Rule(
    id="reference-key-missing",
    title="A secret or config map lacks a key that a container needs",
    holds="a workload is short, and the kubelet says that the object it names has no such key",
    mending="put back the key's name or the key; values of secrets are never invented",
    proof="the container starts",
    repair="patch",
    find=_find,
)
