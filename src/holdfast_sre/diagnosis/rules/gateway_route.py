"""A gateway that sends a path to the wrong service.

Read from route tables in config maps (lists of routes with id, uri and predicates, at any depth). A route is wrong
where a service that no other route leads to bears its id, and the route leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Failure, Ref, Snapshot, dig

_TARGET = re.compile(r"[a-z]+://(?:\$\{[^:}]*:)?(?P<host>[A-Za-z0-9.-]+)")
_PATH = re.compile(r"Path=(/[^,*{]*)")


class Route(msgspec.Struct, frozen=True):
    """One row of a route table."""

    id: str
    host: str
    uri: str
    paths: tuple[str, ...]


def _routes_in(value: Any) -> Iterator[Route]:
    if isinstance(value, Mapping):
        target = _TARGET.match(str(value.get("uri", "")))
        if target and value.get("id"):
            paths = tuple(path for item in value.get("predicates") or () for path in _PATH.findall(str(item)))
            yield Route(str(value["id"]), target["host"].split(".")[0], str(value["uri"]), paths)
            return
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _routes_in(item)


def _tables(snapshot: Snapshot) -> Iterator[tuple[Ref, str, list[Route]]]:
    for ref, manifest in snapshot.of_kind("ConfigMap"):
        for key, text in (dig(manifest, "data") or {}).items():
            if "uri:" not in str(text) or "predicates" not in str(text):
                continue
            try:
                routes = list(_routes_in(YAML(typ="safe", pure=True).load(str(text))))
            except (YAMLError, ValueError, RecursionError):
                continue  # A config map may hold any text; one that is no YAML holds no route table.
            if len(routes) > 1:
                yield ref, f"data.{key}", routes


def _affixes(routes: list[Route], services: set[str]) -> tuple[str, str]:
    """What most hosts carry around their route's id: `x-` and `-service` in `x-orders-service`."""
    counts: dict[tuple[str, str], int] = {}
    for route in routes:
        if route.host in services and route.id in route.host:
            before, _, after = route.host.partition(route.id)
            counts[before, after] = counts.get((before, after), 0) + 1
    return max(counts, key=lambda pair: (counts[pair], pair), default=("", ""))


def _failures(snapshot: Snapshot, route: Route, meant: str) -> list[Failure]:
    return [
        failure
        for failure in snapshot.failures
        if failure.service == meant or any(failure.url.startswith(path.rstrip("/")) for path in route.paths)
    ]


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    services = {ref.name for ref, _ in snapshot.of_kind("Service")}
    for ref, path, routes in _tables(snapshot):
        before, after = _affixes(routes, services)
        hosts = {route.host for route in routes}
        for route in routes:
            meant = f"{before}{route.id}{after}"
            if route.host == meant or meant not in services or meant in hosts:
                continue
            failed = _failures(snapshot, route, meant)
            evidence = [
                quote(ref, f"route {route.id} ({', '.join(route.paths)}) leads to {route.uri}"),
                quote(Ref("Service", meant), "no route leads to it"),
                *(quote("failed requests", failure.text) for failure in failed[:1]),
            ]
            confidence = 0.95 if failed else 0.85
            yield Finding("gateway-route", Ref("Service", meant), confidence, tuple(evidence), (Field(ref, path),))


RULES = (
    Rule(
        id="gateway-route",
        title="The gateway sends a path to the wrong service",
        holds="a route leads to another service than the one that bears its id, to which no route leads",
        mending="put back the route; a route table without a last known good is for a person to mend",
        proof="requests to the path succeed",
        repair="escalate",
        find=_find,
    ),
)
