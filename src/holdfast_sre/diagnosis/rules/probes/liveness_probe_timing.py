"""Killed before it could have started; how long a start takes stands in the other probes, too."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="liveness-probe-timing",
    title="The liveness probe kills sooner than the container can start",
    holds=(
        "the liveness probe fails now, the container is restarted, and the probe as written kills sooner than the"
        " container can start"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "liveness", "timing"),
)
