"""Ways in from outside that lead to nothing: ingresses, HTTP routes and virtual services compared with the services."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig


class Backend(msgspec.Struct, frozen=True):
    """A service that a way in leads to; the port is a number or a name, None where none is written."""

    service: str
    port: int | str | None
    path: str


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _of_ingress(ingress: Manifest) -> Iterator[Backend]:
    entries: list[tuple[Any, str]] = [(dig(ingress, "spec.defaultBackend"), "spec.defaultBackend")]
    for index, rule in enumerate(_listed(dig(ingress, "spec.rules"))):
        for number, path in enumerate(_listed(dig(rule, "http.paths"))):
            entries.append((path.get("backend"), f"spec.rules[{index}].http.paths[{number}].backend"))
    for backend, place in entries:
        name = dig(backend, "service.name") or dig(backend, "serviceName")
        port = dig(backend, "service.port.number") or dig(backend, "service.port.name") or dig(backend, "servicePort")
        if name:
            yield Backend(str(name), port if isinstance(port, int | str) else None, place)


def _of_route(route: Manifest) -> Iterator[Backend]:
    for index, rule in enumerate(_listed(dig(route, "spec.rules"))):
        for number, backend in enumerate(_listed(rule.get("backendRefs"))):
            if backend.get("kind", "Service") == "Service" and backend.get("name") and not backend.get("namespace"):
                port = backend.get("port")
                path = f"spec.rules[{index}].backendRefs[{backend.get('name') or number}]"
                yield Backend(str(backend["name"]), port if isinstance(port, int) else None, path)


def _of_virtual_service(service: Manifest) -> Iterator[Backend]:
    for protocol in ("http", "tcp", "tls"):
        for index, rule in enumerate(_listed(dig(service, f"spec.{protocol}"))):
            key = rule.get("name") or index
            for number, target in enumerate(_listed(rule.get("route"))):
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


def _ways(snapshot: Snapshot) -> Iterator[tuple[Ref, Manifest, Backend]]:
    for kind, read in _READERS.items():
        for ref, manifest in snapshot.of_kind(kind):
            for backend in read(manifest):
                yield ref, manifest, backend


def _find_backend(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.of_kind("Service"):
        return  # Services were not recorded: nothing can be said about them.
    for ref, _, backend in _ways(snapshot):
        service = Ref("Service", backend.service)
        if not snapshot.exists(service):
            evidence = (quote(ref, f"{backend.path} leads to {service}"), quote(service, "does not exist"))
            yield Finding("ingress-backend", ref, 0.93, evidence, (Field(ref, backend.path),))
            continue
        ports = _listed(dig(snapshot.manifest(service), "spec.ports"))
        offered = {port.get("port") for port in ports} | {port.get("name") for port in ports if port.get("name")}
        if backend.port is not None and ports and backend.port not in offered:
            said = f"offers {sorted(str(port) for port in offered)}"
            evidence = (quote(ref, f"{backend.path} leads to port {backend.port} of {service}"), quote(service, said))
            yield Finding("ingress-port", ref, 0.93, evidence, (Field(ref, backend.path),))


def _find_secret(snapshot: Snapshot) -> Iterator[Finding]:
    if not any(ref.kind == "Secret" for ref in snapshot.live):
        return
    for ref, ingress in snapshot.of_kind("Ingress"):
        for index, entry in enumerate(_listed(dig(ingress, "spec.tls"))):
            secret = Ref("Secret", str(entry.get("secretName") or ""))
            if secret.name and not snapshot.exists(secret):
                evidence = (quote(ref, f"takes its certificate from {secret}"), quote(secret, "does not exist"))
                blames = (Field(ref, f"spec.tls[{index}].secretName"), Field(secret, ""))
                yield Finding("ingress-certificate", ref, 0.85, evidence, blames)


def _find_class(snapshot: Snapshot) -> Iterator[Finding]:
    known = {ref.name for ref, _ in snapshot.of_kind("IngressClass") if snapshot.exists(ref)}
    for ref, ingress in snapshot.of_kind("Ingress") if known else ():
        name = dig(ingress, "spec.ingressClassName")
        if name and name not in known:
            evidence = (quote(ref, f"class {name}"), quote("ingress classes", ", ".join(sorted(known))))
            yield Finding("ingress-class", ref, 0.9, evidence, (Field(ref, "spec.ingressClassName"),))


RULES = (
    Rule(
        id="ingress-backend",
        title="A way in leads to a service that does not exist",
        holds="an ingress, HTTP route or virtual service names a service that the cluster does not have",
        mending="put back the name, or the service",
        proof="a request from outside is answered",
        repair="patch",
        find=lambda snapshot: (found for found in _find_backend(snapshot) if found.rule == "ingress-backend"),
    ),
    Rule(
        id="ingress-port",
        title="A way in leads to a port that its service does not offer",
        holds="an ingress, HTTP route or virtual service names a port that its service does not offer",
        mending="put back the port",
        proof="a request from outside is answered",
        repair="patch",
        find=lambda snapshot: (found for found in _find_backend(snapshot) if found.rule == "ingress-port"),
    ),
    Rule(
        id="ingress-certificate",
        title="The secret with the ingress's certificate is missing",
        holds="secrets were recorded, and the one that the ingress names is not among them",
        mending="put back the name or have the certificate issued again; secrets are never invented",
        proof="a request over TLS gets the certificate",
        repair="escalate",
        find=_find_secret,
    ),
    Rule(
        id="ingress-class",
        title="No controller serves the ingress's class",
        holds="ingress classes were recorded, and the one that the ingress names is not among them",
        mending="put back the class",
        proof="the ingress gets an address",
        repair="patch",
        find=_find_class,
    ),
)
