"""A route that does not lead to what it is meant for, by its id, failing requests, its port or the routes before it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.diagnosis.rules.gateways.route_tables import Route, tables
from holdfast_sre.evidence.snapshot import Failure, Ref, Snapshot, dig


class Fault(msgspec.Struct, frozen=True):
    """A service that requests do not reach, why, and how sure that is."""

    service: str
    why: str
    confidence: float
    failure: Failure | None = None


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    for ref, path, routes in tables(snapshot):
        faults = [
            *_misnamed(snapshot, routes, services),
            *_failing(snapshot, routes, services),
            *_unserved(snapshot, routes, services),
            *_shadowed(routes, services),
        ]
        hosts = {route.host for route in routes}
        for fault in faults:
            evidence: list[Evidence] = [quote(ref, fault.why)]
            if fault.service not in hosts:
                evidence.append(quote(Ref("Service", fault.service), "no route leads to it"))
            if fault.failure is not None:
                evidence.append(quote("failed requests", fault.failure.text))
            service = Ref("Service", fault.service)
            yield Finding("gateway-route", service, fault.confidence, tuple(evidence), (Field(ref, path),))


def _misnamed(snapshot: Snapshot, routes: list[Route], services: set[str]) -> Iterator[Fault]:
    """Routes that lead elsewhere than to the service that bears their id, to which no route leads."""
    before, after = _affixes(routes, services)
    hosts = {route.host for route in routes}
    for route in routes:
        meant = f"{before}{route.id}{after}"
        if route.host == meant or meant not in services or meant in hosts:
            continue
        failed = next((item for item in snapshot.failures if item.service == meant or route.leads(item.url)), None)
        why = f"route {route.id} ({', '.join(route.paths)}) leads to {route.uri}"
        yield Fault(meant, why, 0.95 if failed else 0.85, failed)


def _affixes(routes: list[Route], services: set[str]) -> tuple[str, str]:
    """What most hosts carry around their route's id: `x-` and `-service` in `x-orders-service`."""
    counts: dict[tuple[str, str], int] = {}
    for route in routes:
        if route.host in services and route.id in route.host:
            before, _, after = route.host.partition(route.id)
            counts[before, after] = counts.get((before, after), 0) + 1
    return max(counts, key=lambda pair: (counts[pair], pair), default=("", ""))


def _failing(snapshot: Snapshot, routes: list[Route], services: set[str]) -> Iterator[Fault]:
    """Failed requests whose path leads to another service than the one they are meant for, or to none."""
    for failure in snapshot.failures:
        if failure.service not in services or failure.status not in (0, 404, 502, 503):
            continue
        taken = next((route for route in routes if route.leads(failure.url)), None)
        own = [route for route in routes if route.host == failure.service]
        if taken is None and (own or failure.status == 404):
            told = ", ".join(path for route in own for path in route.paths) or "none"
            yield Fault(
                failure.service, f"no route takes {failure.url}; those to the service take {told}", 0.9, failure
            )
        elif taken is not None and taken.host != failure.service and _fits_better(taken, own, failure):
            why = f"route {taken.id} takes {failure.url} and leads to {taken.uri}"
            yield Fault(failure.service, why, 0.9, failure)


def _fits_better(taken: Route, own: list[Route], failure: Failure) -> bool:
    """Whether the request's service is not simply called behind the one that its path leads to."""
    return not own or any(route.leads(failure.url) for route in own) or taken.host not in failure.url


def _unserved(snapshot: Snapshot, routes: list[Route], services: set[str]) -> Iterator[Fault]:
    """Routes to a port that their service does not offer."""
    for route in routes:
        if route.port is None or route.host not in services:
            continue
        ports = {item.get("port") for item in dig(snapshot.manifest(Ref("Service", route.host)), "spec.ports") or ()}
        if ports and route.port not in ports:
            yield Fault(
                route.host, f"route {route.id} leads to port {route.port}; the service offers {sorted(ports)}", 0.9
            )


def _shadowed(routes: list[Route], services: set[str]) -> Iterator[Fault]:
    """Routes all of whose paths an earlier route to another service takes."""
    for index, route in enumerate(routes):
        before = [other for other in routes[:index] if other.host != route.host]
        takers = [next((other for other in before if other.leads(path)), None) for path in route.paths]
        if takers and takers[0] is not None and None not in takers and route.host in services:
            why = f"route {route.id} ({', '.join(route.paths)}) comes after {takers[0].id}, which takes the same paths"
            yield Fault(route.host, why, 0.85)


RULE = Rule(
    id="gateway-route",
    title="The gateway sends a path to the wrong service",
    holds="a route leads to another service or port than its id, its path or its failing requests are meant for",
    mending="put back the route; a route table without a last known good is for a person to mend",
    proof="requests to the path succeed",
    repair="escalate",
    find=_find,
)
