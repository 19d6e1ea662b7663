"""A deadline that is shorter than the pace at which the controller looks is always missed."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Ref, Snapshot, dig

PACE_S = 10
"""The controller looks at cron jobs once in so many seconds."""


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, cron in snapshot.of_kind("CronJob"):
        deadline, missed = dig(cron, "spec.startingDeadlineSeconds"), _missed(snapshot, ref)
        if isinstance(deadline, int) and deadline < PACE_S and missed:
            evidence = (quote(ref, f"startingDeadlineSeconds {deadline}"), quote(ref, missed))
            yield Finding("cron-deadline", ref, 0.9, evidence, (Field(ref, "spec.startingDeadlineSeconds"),))


def _missed(snapshot: Snapshot, ref: Ref) -> str:
    told = [event for event in snapshot.events_of(ref) if event.reason in ("MissSchedule", "TooManyMissedTimes")]
    return told[0].message if told else ""


RULE = Rule(
    id="cron-deadline",
    title="The cron job's runs start too late for its deadline",
    holds=f"the deadline is shorter than the controller's pace of {PACE_S} s, and runs are missed",
    mending="put back the deadline",
    proof="the next run is created",
    repair="patch",
    find=_find,
)
