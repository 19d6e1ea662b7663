"""`container-variable`: the log names a variable of the environment that is missing."""

from __future__ import annotations

import pytest

from tests.sre.diagnosis.rules.commands.worlds import BOX, TILL, crashing
from tests.sre.diagnosis.worlds import found

LINES = [
    'panic: environment variable "TILL_ADDR" not set',
    "KeyError: 'TILL_ADDR'",
    "Could not resolve placeholder 'db.host' in value",
]


@pytest.mark.parametrize("line", LINES)
def test_a_variable_that_the_program_misses(line: str) -> None:
    finding = found(crashing(line).snapshot(), "container-variable")[0]
    assert finding.object == TILL
    assert [field.path for field in finding.blames] == [f"{BOX}.env", f"{BOX}.envFrom"]


@pytest.mark.parametrize("line", LINES)
def test_a_workload_that_is_well_misses_none(line: str) -> None:
    assert not found(crashing(line, ready=1).snapshot(), "container-variable")


def test_an_everyday_error_is_no_missing_variable() -> None:
    assert not found(
        crashing("ERROR order not set to paid; variable shipping costs are missing").snapshot(), "container-variable"
    )
