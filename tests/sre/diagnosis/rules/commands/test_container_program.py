"""`container-program`: the runtime or the shell finds no such program."""

from __future__ import annotations

from tests.sre.diagnosis.rules.commands.worlds import BOX, TILL, crashing
from tests.sre.diagnosis.worlds import found


def test_a_program_that_the_shell_does_not_find() -> None:
    finding = found(crashing("sh: till: command not found").snapshot(), "container-program")[0]
    assert finding.object == TILL
    assert [field.path for field in finding.blames] == [f"{BOX}.command", f"{BOX}.args", f"{BOX}.image"]


def test_a_program_that_the_runtime_does_not_find() -> None:
    text = 'exec: "tll": executable file not found in $PATH'
    assert found(crashing(code=128, text=text).snapshot(), "container-program")[0].confidence == 0.9


def test_an_exit_code_alone_is_believed_less() -> None:
    assert found(crashing(code=127).snapshot(), "container-program")[0].confidence == 0.75
    assert not found(crashing(code=1).snapshot(), "container-program")


def test_a_workload_that_is_well_has_its_program() -> None:
    assert not found(crashing("sh: till: command not found", ready=1).snapshot(), "container-program")
