"""A service that sends by one protocol to pods that listen for another."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.diagnosis.rules.services.failures import certainty, quoted_failure
from holdfast_sre.diagnosis.rules.services.routes import open_ports, routes
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, service, selector in routes(snapshot):
        behind, opened = open_ports(snapshot, selector)
        spoken = {str(port.get("protocol", "TCP")) for port in opened}
        for index, port in enumerate(dig(service, "spec.ports") or ()):
            protocol = str(port.get("protocol", "TCP"))
            if protocol in spoken or not spoken:
                continue
            confidence = certainty(snapshot, ref, behind, 0.97)
            if not confidence:
                continue
            path = f"spec.ports[{port.get('name') or index}].protocol"
            written = min(spoken)
            remedy = Change(str(ref), path, leaves(service).get(path), None if written == "TCP" else written)
            evidence = (
                quote(ref, f"port {port.get('port')} is served over {protocol}"),
                quote(behind[0], f"is ready and opens its ports over {', '.join(sorted(spoken))}"),
                *quoted_failure(snapshot, ref),
            )
            yield Finding("service-protocol", ref, confidence, evidence, (Field(ref, path),), (remedy,))


RULE = Rule(
    id="service-protocol",
    title="The service's port has another protocol than the container's",
    holds="pods behind the service are ready, the protocols differ, and a connection fails or callers complain",
    mending="put back the protocol, or take the container's",
    proof="the connection succeeds",
    repair="patch",
    find=_find,
)
