"""What a report of a run is made from: plain data, so that any source of runs can have one.

Times are seconds since the epoch. All texts may come from outside; the report escapes them.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["closed", "failed", "rejected", "escalated", "running"]
Kind = Literal["work", "wait", "error"]


class Span(msgspec.Struct, frozen=True):
    """One visit of a state. `waits` are for people or the world, `error` for states of error handling."""

    state: str
    start_s: float
    end_s: float
    kind: Kind = "work"
    note: str = ""


class Proof(msgspec.Struct, frozen=True):
    """A quotation and where it was read."""

    source: str
    text: str


class Cause(msgspec.Struct, frozen=True):
    """A finding as told: the first is the cause, others are what else was considered. Confidence lies in (0, 1).

    `suspected` says in lines which change comes first when one looks for what broke it.
    """

    title: str
    object: str
    confidence: float
    evidence: tuple[Proof, ...] = ()
    suspected: tuple[str, ...] = ()


class Origin(msgspec.Struct, frozen=True):
    """The commit that brought the blamed value."""

    revision: str
    author: str
    at_s: float
    subject: str
    changes: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """The repair: where it was offered, its diff with the hash that an approval names, and the checks it passed.

    `blast` says whom it touches, `proof` what was checked before it was offered.
    """

    diff: str
    diff_hash: str
    where: str = ""
    reason: str = ""
    checks: tuple[str, ...] = ()
    blast: str = ""
    proof: tuple[str, ...] = ()


class Said(msgspec.Struct, frozen=True):
    """A person's verdict or remark."""

    at_s: float
    by: str
    verdict: str
    text: str = ""
    diff_hash: str = ""


class Recovery(msgspec.Struct, frozen=True):
    """A death of a worker and what came of it. `recovered_ms` is the time until the run went on."""

    at_s: float
    what: str
    state: str
    recovered_ms: float
    note: str = ""


class Transition(msgspec.Struct, frozen=True):
    """One line of the audit trail, with the states as the spec writes them (main:sub:detailed)."""

    at_s: float
    from_state: str
    to_state: str
    trigger: str
    agent: str
    digest: str = ""


class RunReport(msgspec.Struct, frozen=True):
    """Everything that a report shows. Parts that are absent are left out of it."""

    title: str
    ticket_id: str
    workflow_id: str
    verdict: Verdict
    summary: str
    started_s: float
    ended_s: float
    problem: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    spans: tuple[Span, ...] = ()
    causes: tuple[Cause, ...] = ()
    origin: Origin | None = None
    change: Change | None = None
    said: tuple[Said, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    audit: tuple[Transition, ...] = ()
    chart_svg: str = ""
    is_verified: bool | None = None
