"""The program runs, and names a variable of its environment that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.commands.endings import complaints, failing, fields
from holdfast_sre.evidence.snapshot import Snapshot

_VARIABLE = re.compile(
    r"environment variable .{0,80}(?:not set|required|missing|must be set|undefined)|"
    r"(?:missing|required|undefined|unset) (?:required )?environment variable|KeyError: '[A-Z][A-Z0-9_]+'|"
    r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+ (?:is not set|must be set|is required|not set|is missing)|"
    r"Could not resolve placeholder|unbound variable",
    re.IGNORECASE,
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for workload in failing(snapshot):
        evidence = complaints(snapshot, workload, _VARIABLE)
        if evidence:
            yield Finding("container-variable", workload, 0.9, evidence, fields(snapshot, workload, "env", "envFrom"))


RULE = Rule(
    id="container-variable",
    title="A variable that the program needs is missing",
    holds=(
        "a workload is short, its container ends or cannot start, and the log names a variable of the environment"
        " that is missing"
    ),
    mending="put back the variable; a value that is in no last known good is never guessed",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=_find,
)
