"""`container-argument`: the log refuses an argument or option."""

from __future__ import annotations

import pytest

from tests.sre.diagnosis.rules.commands.worlds import BOX, TILL, crashing
from tests.sre.diagnosis.worlds import found

LINES = ["Error: unknown flag: --lisen", "till: unrecognized option '--x'"]


@pytest.mark.parametrize("line", LINES)
def test_an_argument_that_the_program_does_not_know(line: str) -> None:
    finding = found(crashing(line).snapshot(), "container-argument")[0]
    assert finding.object == TILL
    assert [field.path for field in finding.blames] == [f"{BOX}.command", f"{BOX}.args"]


@pytest.mark.parametrize("line", LINES)
def test_a_workload_that_is_well_knows_its_arguments(line: str) -> None:
    assert not found(crashing(line, ready=1).snapshot(), "container-argument")
