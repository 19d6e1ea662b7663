"""Containers that end at once for what they are told to run: no such program, a wrong argument, a variable missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from holdfast_sre.diagnosis.findings import Evidence, Field, Finding, Rule, quote, quote_line
from holdfast_sre.diagnosis.symptoms import container_path, events_by_reason, is_short, restarts, statuses
from holdfast_sre.evidence.snapshot import Ref, Snapshot, containers_of, dig

Kind = Literal["program", "argument", "variable", "platform"]

_NOT_FOUND = (126, 127, 128)
"""Exit codes of a shell or runtime that cannot run the program."""
_PROGRAM = re.compile(
    r"executable file not found|no such file or directory.{0,40}(?:exec|unknown)|"
    r"exec:? .{0,200}(?:no such file|not found)|command not found|stat .{0,200}: no such file",
    re.IGNORECASE,
)
_PLATFORM = re.compile(r"exec format error|cannot execute binary file", re.IGNORECASE)
_ARGUMENT = re.compile(
    r"unknown (?:shorthand )?flag|unrecognized (?:option|argument)|flag provided but not defined|"
    r"invalid (?:option|argument)|unknown option|unexpected argument|unknown command",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"environment variable .{0,80}(?:not set|required|missing|must be set|undefined)|"
    r"(?:missing|required|undefined|unset) (?:required )?environment variable|KeyError: '[A-Z][A-Z0-9_]+'|"
    r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+ (?:is not set|must be set|is required|not set|is missing)|"
    r"Could not resolve placeholder|unbound variable",
    re.IGNORECASE,
)


def _told(snapshot: Snapshot, workload: Ref) -> Iterator[tuple[str, Evidence, str]]:
    """Containers that ended or cannot start, with where and what is told of it."""
    for ref, pod in snapshot.pods_of(workload):
        for status in statuses(pod):
            held = dig(status, "state.waiting") or {}
            for ended in (dig(status, "state.terminated"), dig(status, "lastState.terminated")):
                if ended and ended.get("exitCode"):
                    text = f"exit code {ended['exitCode']}: {ended.get('reason', '')} {ended.get('message', '')}"
                    yield str(status["name"]), quote(ref, text), text
            if held.get("message"):
                yield str(status["name"]), quote(ref, str(held["message"])), str(held["message"])
    for event in events_by_reason(snapshot, workload, "Failed", "BackOff"):
        yield "", quote(event.about, event.message), event.message


def _logged(snapshot: Snapshot, workload: Ref, pattern: re.Pattern[str]) -> Iterator[Evidence]:
    for line in snapshot.logs_of(workload.name):
        if pattern.search(line.text):
            yield quote_line(f"log of {workload.name}", line.text, pattern)


def _is_failing(snapshot: Snapshot, workload: Ref) -> bool:
    return is_short(snapshot, workload) and any(
        restarts(pod) or dig(status, "state.waiting") or dig(status, "state.terminated")
        for _, pod in snapshot.pods_of(workload)
        for status in statuses(pod)
    )


def _evidence(snapshot: Snapshot, workload: Ref, pattern: re.Pattern[str]) -> list[Evidence]:
    told = [evidence for _, evidence, text in _told(snapshot, workload) if pattern.search(text)]
    return [*told, *_logged(snapshot, workload, pattern)][:3]


def _find(snapshot: Snapshot, kind: Kind, pattern: re.Pattern[str], parts: tuple[str, ...]) -> Iterator[Finding]:
    for workload in snapshot.workloads:
        if not _is_failing(snapshot, workload):
            continue
        evidence = _evidence(snapshot, workload, pattern)
        confidence = 0.9
        if kind == "program" and not evidence:
            codes = [f"exit code {code}:" for code in _NOT_FOUND]
            told = [item for _, item, text in _told(snapshot, workload) if text.startswith(tuple(codes))]
            evidence, confidence = told[:2], 0.75
        if not evidence:
            continue
        names = [str(item["name"]) for item in containers_of(snapshot.manifest(workload))]
        blames = tuple(Field(workload, f"{container_path(name)}.{part}") for name in names for part in parts)
        yield Finding(f"container-{kind}", workload, confidence, tuple(evidence), blames)


def _rule(kind: Kind, title: str, holds: str, mending: str, pattern: re.Pattern[str], *parts: str) -> Rule:
    return Rule(
        id=f"container-{kind}",
        title=title,
        holds=f"a workload is short, its container ends or cannot start, and {holds}",
        mending=mending,
        proof="ready, and the number of restarts stays",
        repair="patch",
        find=lambda snapshot: _find(snapshot, kind, pattern, parts),
    )


RULES = (
    _rule(
        "program",
        "The container's program does not exist",
        "the runtime says that it finds no such program, or the exit code is 126 to 128",
        "put back the last command and image that ran",
        _PROGRAM,
        "command",
        "args",
        "image",
    ),
    _rule(
        "argument",
        "The container's program does not know an argument",
        "the log refuses an argument or option",
        "put back the last command and arguments that ran",
        _ARGUMENT,
        "command",
        "args",
    ),
    _rule(
        "variable",
        "A variable that the program needs is missing",
        "the log names a variable of the environment that is missing",
        "put back the variable; a value that is in no last known good is never guessed",
        _VARIABLE,
        "env",
        "envFrom",
    ),
    _rule(
        "platform",
        "The image is for another kind of machine",
        "the kernel refuses the program's format",
        "put back the last image that ran, or take one that is built for the nodes' architecture",
        _PLATFORM,
        "image",
    ),
)
