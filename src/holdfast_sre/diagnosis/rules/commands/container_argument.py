"""The program runs, and refuses what it is given on its command line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.commands.endings import complaints, failing, fields
from holdfast_sre.evidence.snapshot import Snapshot

_ARGUMENT = re.compile(
    r"unknown (?:shorthand )?flag|unrecognized (?:option|argument)|flag provided but not defined|"
    r"invalid (?:option|argument)|unknown option|unexpected argument|unknown command",
    re.IGNORECASE,
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in failing(snapshot):
        evidence = complaints(snapshot, workload, _ARGUMENT)
        if evidence:
            yield Finding("container-argument", workload, 0.9, evidence, fields(snapshot, workload, "command", "args"))


RULE = Rule(
    id="container-argument",
    title="The container's program does not know an argument",
    holds="a workload is short, its container ends or cannot start, and the log refuses an argument or option",
    mending="put back the last command and arguments that ran",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=_find,
)
