"""A gateway that sends a path to the wrong service, or nowhere.

Read from route tables in config maps (lists of routes with id, uri and predicates, at any depth); which service a route
is meant for is told by its id, by the requests that fail on its path, and by the table as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Failure, Ref, Snapshot, containers_of, dig

_TARGET = re.compile(r"[a-z]+://(?P<host>[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?")
_PLACEHOLDER = re.compile(r"\$\{([^:}]{1,200})(?::([^}]{0,200}))?\}")
_PATH = re.compile(r"Path=(.+)")
TABLE_CHARS_MAX = 1 << 20


class Route(msgspec.Struct, frozen=True):
    """One row of a route table. `paths` are prefixes; `port` is None where the uri names none."""

    id: str
    host: str
    port: int | None
    uri: str
    paths: tuple[str, ...]

    def leads(self, url: str) -> bool:
        """Whether a request for the URL's path takes this route."""
        return any(url == path.rstrip("/") or url.startswith(path) for path in self.paths)


def _routes_in(value: Any, settings: Mapping[str, str]) -> Iterator[Route]:
    if isinstance(value, Mapping):
        uri = _PLACEHOLDER.sub(
            lambda found: settings.get(found[1], found[2] or ""), str(value.get("uri", ""))[:TABLE_CHARS_MAX]
        )
        target = _TARGET.match(uri)
        if target and value.get("id"):
            told = value.get("predicates")
            paths = tuple(_prefixes(told if isinstance(told, list) else ()))
            port = int(target["port"]) if target["port"] else None
            yield Route(str(value["id"]), target["host"].split(".")[0], port, uri, paths)
            return
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _routes_in(item, settings)


def _prefixes(predicates: Sequence[Any]) -> Iterator[str]:
    for item in predicates:
        match = _PATH.match(str(item))
        for pattern in match[1].split(",") if match else ():
            yield re.split(r"[*{?]", pattern.strip(), maxsplit=1)[0]


def _tables(snapshot: Snapshot) -> Iterator[tuple[Ref, str, list[Route]]]:
    for ref, manifest in snapshot.of_kind("ConfigMap"):
        for key, text in (dig(manifest, "data") or {}).items():
            if "uri:" not in str(text) or "predicates" not in str(text) or len(str(text)) > TABLE_CHARS_MAX:
                continue
            routes = list(_routes_in(_parsed(str(text)), _settings(snapshot, ref)))
            if len(routes) > 1:
                yield ref, f"data.{key}", routes


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """A config map's text as YAML; None where it is none, for it may hold any text."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        return None


def _settings(snapshot: Snapshot, config: Ref) -> dict[str, str]:
    """The environment of the containers that use the config map: it fills the table's placeholders."""
    found: dict[str, str] = {}
    for workload in snapshot.workloads:
        manifest = snapshot.manifest(workload)
        volumes = dig(manifest, "spec.template.spec.volumes") or ()
        is_mounted = any(dig(volume, "configMap.name") == config.name for volume in volumes)
        for container in containers_of(manifest):
            sources = [dig(source, "configMapRef.name") for source in container.get("envFrom") or ()]
            if is_mounted or config.name in sources:
                found |= {
                    str(item["name"]): str(item["value"]) for item in container.get("env") or () if "value" in item
                }
    return found


def _affixes(routes: list[Route], services: set[str]) -> tuple[str, str]:
    """What most hosts carry around their route's id: `x-` and `-service` in `x-orders-service`."""
    counts: dict[tuple[str, str], int] = {}
    for route in routes:
        if route.host in services and route.id in route.host:
            before, _, after = route.host.partition(route.id)
            counts[before, after] = counts.get((before, after), 0) + 1
    return max(counts, key=lambda pair: (counts[pair], pair), default=("", ""))


class Fault(msgspec.Struct, frozen=True):
    """A service that requests do not reach, why, and how sure that is."""

    service: str
    why: str
    confidence: float
    failure: Failure | None = None


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


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    for ref, path, routes in _tables(snapshot):
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


RULES = (
    Rule(
        id="gateway-route",
        title="The gateway sends a path to the wrong service",
        holds="a route leads to another service or port than its id, its path or its failing requests are meant for",
        mending="put back the route; a route table without a last known good is for a person to mend",
        proof="requests to the path succeed",
        repair="escalate",
        find=_find,
    ),
)
