"""The service is what changed where several agree on a port that it does not offer."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.expected_ports import AGREEING_MIN, expected_ports
from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    expected = expected_ports(snapshot)
    for ref, service in snapshot.of_kind("Service"):
        ports = [port for port in dig(service, "spec.ports") or () if isinstance(port.get("port"), int)]
        offered = {port["port"] for port in ports}
        for number, names in sorted(expected.get(ref.name, {}).items()):
            if number in offered or len(names) < AGREEING_MIN or not snapshot.exists(ref):
                continue
            path = f"spec.ports[{ports[0].get('name') or 0}].port" if ports else "spec.ports"
            remedy = (Change(str(ref), path, str(ports[0]["port"]), str(number)),) if len(ports) == 1 else ()
            evidence = (
                quote(ref, f"offers {sorted(offered)}"),
                quote("settings", f"{', '.join(sorted(names))} expect port {number}"),
            )
            yield Finding("service-port", ref, 0.96, evidence, (Field(ref, "spec.ports"),), remedy)


RULE = Rule(
    id="service-port",
    title="The service is not at the port that others expect",
    holds=f"at least {AGREEING_MIN} workloads agree in their settings on a port that the service does not offer",
    mending="put back the port, or take the one that the others agree on",
    proof="the callers' connections succeed",
    repair="patch",
    find=_find,
)
