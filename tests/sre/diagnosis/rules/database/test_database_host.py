"""`database-host`: the host of the settings is no service."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.database.worlds import database
from tests.sre.diagnosis.worlds import World, container, found

TILL = Ref("Deployment", "till")


def test_a_host_of_the_database_that_is_no_service() -> None:
    world = World()
    world.service("vault-db", port=3306)
    for name, host in (("oven", "vault-db"), ("shop", "vault-db"), ("till", "vault-bd")):
        world.add("Secret", f"{name}-db", {"stringData": {"DB_HOST": host, "DB_PORT": "3306"}})
        box = container(envFrom=[{"secretRef": {"name": f"{name}-db"}}])
        world.deployment(name, containers=[box], ready=int(name != "till"))
    finding = found(world.snapshot(), "database-host")
    assert [item.object for item in finding] == [TILL]
    assert finding[0].blames == (Field(Ref("Secret", "till-db"), "stringData.DB_HOST"),)
    world.log("till", "Unknown host vault-bd")
    assert found(world.snapshot(), "database-host")[0].confidence == 0.93


def test_a_host_that_is_a_service_is_right() -> None:
    world = database()
    world.log("oven", "cannot talk to vault")
    assert not found(world.snapshot(), "database-host")
