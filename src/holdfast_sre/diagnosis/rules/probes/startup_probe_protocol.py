"""Killed at the start for not speaking a protocol that the container never speaks."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Rule
from holdfast_sre.diagnosis.rules.probes.faulty import faulty

RULE = Rule(
    id="startup-probe-protocol",
    title="The startup probe speaks another protocol than the container",
    holds=(
        "the startup probe fails now, the container is restarted, and the probe as written speaks another "
        "protocol than the container"
    ),
    mending="put back the last probe that worked, or take the handler of the container's other, sound probe",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=lambda snapshot: faulty(snapshot, "startup", "protocol"),
)
