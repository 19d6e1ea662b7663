"""Clients of one database."""

from __future__ import annotations

from tests.sre.diagnosis.worlds import World, container

DENIED = "java.sql.SQLException: Access denied for user 'baker'@'10.0.0.4'"
REFUSED = "CommunicationsException: Communications link failure"


def database(**own: str) -> World:
    """Three clients of one server; the settings of the first are as given."""
    world = World()
    world.deployment("vault", kind="StatefulSet")
    world.service("vault", port=3306)
    for index, name in enumerate(("oven", "till", "shop")):
        settings = {"DB_HOST": "vault", "DB_PORT": "3306", "DB_USER": "baker", "DB_PASSWORD": "right"}
        settings |= own if index == 0 else {}
        world.add("Secret", f"{name}-db", {"stringData": settings})
        box = container(envFrom=[{"secretRef": {"name": f"{name}-db"}}])
        world.deployment(name, containers=[box], ready=1 if index else 0, restarts=0 if index else 4)
    return world
