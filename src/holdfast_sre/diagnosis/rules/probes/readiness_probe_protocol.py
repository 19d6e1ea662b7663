"""Kept from its callers for not speaking a protocol that the container never spoke."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="readiness-probe-protocol",
    title="The readiness probe speaks another protocol than the container",
    holds=(
        "the readiness probe fails now, the container runs and is not ready, and the probe as written speaks "
        "another protocol than the container"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "readiness", "protocol"),
)
