"""A way in names a service, and there is none of the name."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.ingress.ways_in import ways_in
from holdfast_sre.evidence.snapshot import Ref, Snapshot


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.of_kind("Service"):
        return  # Services were not recorded: nothing can be said about them.
    for ref, backend in ways_in(snapshot):
        service = Ref("Service", backend.service)
        if not snapshot.exists(service):
            evidence = (quote(ref, f"{backend.path} leads to {service}"), quote(service, "does not exist"))
            yield Finding("ingress-backend", ref, 0.93, evidence, (Field(ref, backend.path),))


RULE = Rule(
    id="ingress-backend",
    title="A way in leads to a service that does not exist",
    holds="an ingress, HTTP route or virtual service names a service that the cluster does not have",
    mending="put back the name, or the service",
    proof="a request from outside is answered",
    repair="patch",
    find=_find,
)
