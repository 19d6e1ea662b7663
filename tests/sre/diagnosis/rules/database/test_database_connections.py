"""`database-connections`: clients are told that there are too many connections."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.database.worlds import REFUSED, database
from tests.sre.diagnosis.worlds import found

LINE = "java.sql.SQLNonTransientConnectionException: Too many connections"


def test_a_server_that_turns_clients_away_is_at_fault_and_not_they() -> None:
    world = database()
    world.log("oven", LINE)
    world.log("till", LINE)
    assert [each.object for each in found(world.snapshot(), "database-connections")] == [Ref("StatefulSet", "vault")]


def test_a_server_that_nobody_complains_of_has_connections_left() -> None:
    world = database()
    world.log("oven", REFUSED)
    assert not found(world.snapshot(), "database-connections")
