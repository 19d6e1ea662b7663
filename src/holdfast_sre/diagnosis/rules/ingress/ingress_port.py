"""A way in names a port, by number or by name, of a service that has no such port."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.ingress.ways_in import listed, ways_in
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, backend in ways_in(snapshot):
        service = Ref("Service", backend.service)
        ports = listed(dig(snapshot.manifest(service), "spec.ports")) if snapshot.exists(service) else []
        offered = {port.get("port") for port in ports} | {port.get("name") for port in ports if port.get("name")}
        if backend.port is not None and ports and backend.port not in offered:
            said = f"offers {sorted(str(port) for port in offered)}"
            evidence = (quote(ref, f"{backend.path} leads to port {backend.port} of {service}"), quote(service, said))
            yield Finding("ingress-port", ref, 0.93, evidence, (Field(ref, backend.path),))


RULE = Rule(
    id="ingress-port",
    title="A way in leads to a port that its service does not offer",
    holds="an ingress, HTTP route or virtual service names a port that its service does not offer",
    mending="put back the port",
    proof="a request from outside is answered",
    repair="patch",
    find=_find,
)
