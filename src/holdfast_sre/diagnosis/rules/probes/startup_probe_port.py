"""Killed at the start for a port that the container never opens."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="startup-probe-port",
    title="The startup probe asks a port that the container does not open",
    holds=(
        "the startup probe fails now, the container is restarted, and the probe as written asks a port that the "
        "container does not open"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "startup", "port"),
)
