"""`database-read-only`: clients are told that the server is read-only."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.database.worlds import DENIED, database
from tests.sre.diagnosis.worlds import found

LINE = "The server is running with the --read-only option"


def test_a_server_that_refuses_writes_is_at_fault_and_not_its_clients() -> None:
    world = database()
    world.log("oven", LINE)
    world.log("till", LINE)
    assert [each.object for each in found(world.snapshot(), "database-read-only")] == [Ref("StatefulSet", "vault")]


def test_a_server_that_nobody_complains_of_takes_writes() -> None:
    world = database()
    world.log("oven", DENIED)
    assert not found(world.snapshot(), "database-read-only")
