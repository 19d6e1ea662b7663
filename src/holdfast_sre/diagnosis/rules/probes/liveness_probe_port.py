"""Killed for a port that the container never opened."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="liveness-probe-port",
    title="The liveness probe asks a port that the container does not open",
    holds=(
        "the liveness probe fails now, the container is restarted, and the probe as written asks a port that the "
        "container does not open"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "liveness", "port"),
)
