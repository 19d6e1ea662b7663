"""`database-port`: the server's service does not offer the port of the settings."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.rules.database.worlds import REFUSED, database
from tests.sre.diagnosis.worlds import found


def test_a_port_that_the_server_does_not_offer() -> None:
    world = database(DB_PORT="3307")
    world.log("oven", REFUSED)
    finding = found(world.snapshot(), "database-port")[0]
    assert finding.remedy == (Change("Secret/oven-db", "stringData.DB_PORT", "3307", "3306"),)
    assert not found(database().snapshot(), "database-port")
