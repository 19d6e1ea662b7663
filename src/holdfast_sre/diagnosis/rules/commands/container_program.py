"""The runtime or the shell finds no program of the name; an exit code alone is believed less than words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Finding, Rule
from holdfast_sre.diagnosis.rules.commands.endings import complaints, failing, fields, told
from holdfast_sre.evidence.snapshot import Snapshot

_NOT_FOUND = (126, 127, 128)
"""Exit codes of a shell or runtime that cannot run the program."""
_PROGRAM = re.compile(
    r"executable file not found|no such file or directory.{0,40}(?:exec|unknown)|"
    r"exec:? .{0,200}(?:no such file|not found)|command not found|stat .{0,200}: no such file",
    re.IGNORECASE,
)


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    codes = tuple(f"exit code {code}:" for code in _NOT_FOUND)
    for workload in failing(snapshot):
        evidence, confidence = complaints(snapshot, workload, _PROGRAM), 0.9
        if not evidence:
            ended = tuple(item for item, text in told(snapshot, workload) if text.startswith(codes))
            evidence, confidence = ended[:2], 0.75
        if evidence:
            blames = fields(snapshot, workload, "command", "args", "image")
            yield Finding("container-program", workload, confidence, evidence, blames)


RULE = Rule(
    id="container-program",
    title="The container's program does not exist",
    holds=(
        "a workload is short, its container ends or cannot start, and the runtime says that it finds no such "
        "program, or the exit code is 126 to 128"
    ),
    mending="put back the last command and image that ran",
    proof="ready, and the number of restarts stays",
    repair="patch",
    find=_find,
)
