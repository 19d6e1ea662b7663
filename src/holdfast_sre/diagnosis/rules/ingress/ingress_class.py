"""An ingress of a class that none of the recorded ones is: no controller looks at it."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    known = {ref.name for ref, _ in snapshot.of_kind("IngressClass") if snapshot.exists(ref)}
    for ref, ingress in snapshot.of_kind("Ingress") if known else ():
        name = dig(ingress, "spec.ingressClassName")
        if name and name not in known:
            evidence = (quote(ref, f"class {name}"), quote("ingress classes", ", ".join(sorted(known))))
            yield Finding("ingress-class", ref, 0.9, evidence, (Field(ref, "spec.ingressClassName"),))


RULE = Rule(
    id="ingress-class",
    title="No controller serves the ingress's class",
    holds="ingress classes were recorded, and the one that the ingress names is not among them",
    mending="put back the class",
    proof="the ingress gets an address",
    repair="patch",
    find=_find,
)
