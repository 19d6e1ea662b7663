"""The services that ingresses, HTTP routes and virtual services lead to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig


class Backend(msgspec.Struct, frozen=True):
    """A service that a way in leads to; the port is a number or a name, None where none is written."""

    service: str
    port: int | str | None
    path: str


def ways_in(snapshot: Snapshot) -> Iterator[tuple[Ref, Backend]]:
    """Every way in, with the service that it leads to."""
    for kind, read in _READERS.items():
        for ref, manifest in snapshot.of_kind(kind):
            for backend in read(manifest):
                yield ref, backend


def listed(value: Any) -> list[Mapping[str, Any]]:
    """The mappings of a list; none where it is no list."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _of_ingress(ingress: Manifest) -> Iterator[Backend]:
    entries: list[tuple[Any, str]] = [(dig(ingress, "spec.defaultBackend"), "spec.defaultBackend")]
    for index, rule in enumerate(listed(dig(ingress, "spec.rules"))):
        for number, path in enumerate(listed(dig(rule, "http.paths"))):
            entries.append((path.get("backend"), f"spec.rules[{index}].http.paths[{number}].backend"))
    for backend, place in entries:
        name = dig(backend, "service.name") or dig(backend, "serviceName")
        port = dig(backend, "service.port.number") or dig(backend, "service.port.name") or dig(backend, "servicePort")
        if name:
            yield Backend(str(name), port if isinstance(port, int | str) else None, place)


def _of_route(route: Manifest) -> Iterator[Backend]:
    for index, rule in enumerate(listed(dig(route, "spec.rules"))):
        for number, backend in enumerate(listed(rule.get("backendRefs"))):
            if backend.get("kind", "Service") == "Service" and backend.get("name") and not backend.get("namespace"):
                port = backend.get("port")
                path = f"spec.rules[{index}].backendRefs[{backend.get('name') or number}]"
                yield Backend(str(backend["name"]), port if isinstance(port, int) else None, path)


def _of_virtual_service(service: Manifest) -> Iterator[Backend]:
    for protocol in ("http", "tcp", "tls"):
        for index, rule in enumerate(listed(dig(service, f"spec.{protocol}"))):
            key = rule.get("name") or index
            for number, target in enumerate(listed(rule.get("route"))):
                host, port = str(dig(target, "destination.host") or ""), dig(target, "destination.port.number")
                if host and re.fullmatch(r"[a-z0-9-]+", host):  # One with dots may be in another namespace.
                    path = f"spec.{protocol}[{key}].route[{number}].destination"
                    yield Backend(host, port if isinstance(port, int) else None, path)


_READERS = {
    "Ingress": _of_ingress,
    "HTTPRoute": _of_route,
    "GRPCRoute": _of_route,
    "VirtualService": _of_virtual_service,
}
