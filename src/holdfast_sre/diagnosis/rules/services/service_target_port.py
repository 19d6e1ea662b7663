"""A service that sends to a port, by number or by name, at which nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast_sre.diagnosis.findings import Change, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.services.failures import certainty, quoted_failure
from holdfast_sre.diagnosis.rules.services.routes import open_ports, routes
from holdfast_sre.diagnosis.symptoms import container_path, nearest
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, service, selector in routes(snapshot):
        behind, opened = open_ports(snapshot, selector)
        numbers = {port.get("containerPort") for port in opened}
        names = {port.get("name") for port in opened if port.get("name")}
        for index, port in enumerate(dig(service, "spec.ports") or ()):
            target = port.get("targetPort", port.get("port"))
            if not opened or target in numbers or target in names:
                continue
            confidence = certainty(snapshot, ref, behind, 0.96)
            if not confidence:
                continue
            label = port.get("name") or index
            path = f"spec.ports[{label}].targetPort"
            remedy = _target_remedy(ref, path, port, numbers, names)
            evidence = (
                quote(ref, f"port {port.get('port')} leads to target port {target}"),
                quote(behind[0], f"is ready and opens only {sorted(str(number) for number in numbers | names)}"),
                *quoted_failure(snapshot, ref),
            )
            blames = [Field(ref, path)]
            if target not in numbers and not str(target).isdigit():
                # A port's name stands on both sides; a last known good holds them together.
                blames += [
                    Field(workload, f"{container_path(str(item['name']))}.ports")
                    for workload in behind
                    for item in containers_of(snapshot.manifest(workload))
                ]
            yield Finding("service-target-port", ref, confidence, evidence, tuple(blames), remedy)


def _target_remedy(
    service: Ref, path: str, port: dict[str, Any], numbers: set[Any], names: set[Any]
) -> tuple[Change, ...]:
    """The only port that the container opens, or the port name that is meant by a misspelt one."""
    target = port.get("targetPort")
    before = None if target is None else str(target)
    if isinstance(target, str) and not target.isdigit():
        meant = nearest(target, sorted(str(name) for name in names))
        if meant:
            return (Change(str(service), path, before, meant),)
    return (Change(str(service), path, before, str(next(iter(numbers)))),) if len(numbers) == 1 else ()


RULE = Rule(
    id="service-target-port",
    title="The service leads to a port that the container does not open",
    holds="pods behind the service are ready, none opens the target port, connections fail or callers complain",
    mending="put back the target port, or take the only port that the container opens",
    proof="the connection succeeds",
    repair="patch",
    find=_find,
)
