"""Kept from its callers for a port that the container never opened."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="readiness-probe-port",
    title="The readiness probe asks a port that the container does not open",
    holds=(
        "the readiness probe fails now, the container runs and is not ready, and the probe as written asks a port"
        " that the container does not open"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "readiness", "port"),
)
