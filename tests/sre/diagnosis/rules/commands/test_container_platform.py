"""`container-platform`: the kernel refuses the program's format."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from tests.sre.diagnosis.rules.commands.worlds import BOX, TILL, crashing
from tests.sre.diagnosis.worlds import found

LINE = "exec /till: exec format error"


def test_an_image_for_another_machine() -> None:
    finding = found(crashing(LINE).snapshot(), "container-platform")[0]
    assert (finding.object, finding.blames) == (TILL, (Field(TILL, f"{BOX}.image"),))


def test_a_workload_that_is_well_runs_on_its_machine() -> None:
    assert not found(crashing(LINE, ready=1).snapshot(), "container-platform")
