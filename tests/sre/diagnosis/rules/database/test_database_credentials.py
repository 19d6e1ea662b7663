"""`database-credentials`: a password is refused, or unlike that of the other clients."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.database.worlds import DENIED, database
from tests.sre.diagnosis.worlds import container, found


def test_a_password_unlike_that_of_the_other_clients() -> None:
    world = database(DB_PASSWORD="wrong")
    silent = found(world.snapshot(), "database-credentials")[0]
    world.log("oven", DENIED)
    finding = found(world.snapshot(), "database-credentials")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert finding.remedy == ()  # A secret's value is never computed.
    assert silent.confidence < finding.confidence
    assert "wrong" not in "".join(item.text for item in finding.evidence)


def test_the_usual_password_is_not_blamed_for_a_refusal_of_others() -> None:
    world = database()
    world.log("oven", DENIED)
    assert not found(world.snapshot(), "database-credentials")


def test_credentials_of_a_workload_that_is_well_are_not_blamed() -> None:
    world = database(DB_PASSWORD="wrong")
    world.deployment("oven", containers=[container(envFrom=[{"secretRef": {"name": "oven-db"}}])])
    assert not found(world.snapshot(), "database-credentials")
