"""Ways in to the service `till`, which is at port 80."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.sre.diagnosis.worlds import World


def way(kind: str, spec: dict[str, Any]) -> World:
    """A way in of any kind."""
    world = World()
    world.deployment("till")
    world.service("till", port=80)
    world.add(kind, "shop", {"spec": spec})
    return world


def ingress(service: str = "till", port: Any = None, **more: Any) -> World:
    """An ingress to a service at a port."""
    backend = {"service": {"name": service, "port": port or {"number": 80}}}
    return way("Ingress", {"rules": [{"http": {"paths": [{"path": "/", "backend": backend}]}}], **more})


WAYS: dict[str, Callable[[str, int], World]] = {
    "Ingress": lambda name, port: ingress(name, {"number": port}),
    "HTTPRoute": lambda name, port: way("HTTPRoute", {"rules": [{"backendRefs": [{"name": name, "port": port}]}]}),
    "VirtualService": lambda name, port: way(
        "VirtualService", {"http": [{"route": [{"destination": {"host": name, "port": {"number": port}}}]}]}
    ),
}
"""By kind, a way in to a service at a port."""
