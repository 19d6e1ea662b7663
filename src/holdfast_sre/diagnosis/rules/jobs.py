"""Jobs that gave up, and cron jobs that start none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

_FIELD = r"(?:\*|\?|[0-9A-Za-z]{1,3}(?:-[0-9A-Za-z]{1,3})?)(?:/[0-9]{1,3})?"
_SCHEDULE = re.compile(rf"(?:(?:CRON_)?TZ=\S+ )?(?:{_FIELD}(?:,{_FIELD})*\s+){{4}}{_FIELD}(?:,{_FIELD})*")
_NAMED = re.compile(r"@(?:yearly|annually|monthly|weekly|daily|midnight|hourly|every \S+)")
_FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def is_schedule(text: str) -> bool:
    """Whether a text is a schedule in the form of cron: five fields in their bounds, or one of the names."""
    text = text.strip()
    if _NAMED.fullmatch(text):
        return True
    if not _SCHEDULE.fullmatch(text):
        return False
    fields = text.split()[-5:]
    return all(
        least <= int(number) <= most
        for field, (least, most) in zip(fields, _FIELDS, strict=True)
        for number in re.findall(r"(?<![/0-9])[0-9]+", field)
    )


def _failed(job: Manifest) -> tuple[str, str] | None:
    for condition in dig(job, "status.conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return str(condition.get("reason", "")), str(condition.get("message", ""))
    return None


def _is_over(snapshot: Snapshot, ref: Ref) -> bool:
    """Whether a later job of the same owner succeeded."""
    owner = snapshot.owner_of(ref)
    started = str(dig(snapshot.live[ref], "status.startTime") or "")
    return owner != ref and any(
        snapshot.owner_of(other) == owner
        and dig(job, "status.succeeded")
        and str(dig(job, "status.startTime") or "") > started
        for other, job in snapshot.of_kind("Job")
        if other != ref and other in snapshot.live
    )


def _find_job(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, _ in snapshot.of_kind("Job"):
        why = _failed(snapshot.live.get(ref, {}))
        if why is None or _is_over(snapshot, ref):
            continue
        evidence = [quote(ref, f"{why[0]}: {why[1]}")]
        evidence += [quote(f"log of {ref.name}", line.text) for line in snapshot.logs_of(ref.name)[:2]]
        yield Finding("job-failed", ref, 0.8, tuple(evidence), (Field(ref, "spec"),))


def _find_cron(snapshot: Snapshot, fault: str) -> Iterator[Finding]:
    for ref, cron in snapshot.of_kind("CronJob"):
        schedule, deadline = str(dig(cron, "spec.schedule") or ""), dig(cron, "spec.startingDeadlineSeconds")
        if fault == "schedule" and not is_schedule(schedule):
            told = (quote(ref, f"schedule {schedule!r} is none"),)
            yield Finding("cron-schedule", ref, 0.93, told, (Field(ref, "spec.schedule"),))
        if fault == "deadline" and isinstance(deadline, int) and deadline < 10 and _missed(snapshot, ref):
            evidence = (quote(ref, f"startingDeadlineSeconds {deadline}"), quote(ref, _missed(snapshot, ref)))
            yield Finding("cron-deadline", ref, 0.9, evidence, (Field(ref, "spec.startingDeadlineSeconds"),))
        if fault == "suspended" and dig(snapshot.live.get(ref, {}), "spec.suspend") is True:
            wanted = dig(snapshot.declared.get(ref, {}), "spec.suspend")
            is_drift = ref in snapshot.declared and wanted is not True
            last = dig(snapshot.live[ref], "status.lastScheduleTime") or "never"
            evidence = (quote(ref, f"suspended; in the manifests: {wanted}"), quote(ref, f"last run: {last}"))
            blames = () if is_drift else (Field(ref, "spec.suspend"),)
            yield Finding("cron-suspended", ref, 0.85 if is_drift else 0.4, evidence, blames)


def _missed(snapshot: Snapshot, ref: Ref) -> str:
    told = [event for event in snapshot.events_of(ref) if event.reason in ("MissSchedule", "TooManyMissedTimes")]
    return told[0].message if told else ""


RULES = (
    Rule(
        id="job-failed",
        title="A job gave up",
        holds="the job's condition Failed is True, and no later job of the same cron job succeeded",
        mending="read the log of its last pod; put back the last job that succeeded; a new run is a decision",
        proof="a run succeeds",
        repair="escalate",
        find=_find_job,
    ),
    Rule(
        id="cron-schedule",
        title="The cron job's schedule is none",
        holds="the schedule does not have five fields in their bounds",
        mending="put back the last schedule",
        proof="the next run is created",
        repair="patch",
        find=lambda snapshot: _find_cron(snapshot, "schedule"),
    ),
    Rule(
        id="cron-deadline",
        title="The cron job's runs start too late for its deadline",
        holds="the deadline is shorter than the controller's pace of 10 s, and runs are missed",
        mending="put back the deadline",
        proof="the next run is created",
        repair="patch",
        find=lambda snapshot: _find_cron(snapshot, "deadline"),
    ),
    Rule(
        id="cron-suspended",
        title="The cron job is suspended",
        holds="the cluster has it suspended; it is sure where the manifests do not say so",
        mending="find who suspended it and why; let the deployment controller apply the manifests again",
        proof="the next run is created",
        repair="escalate",
        find=lambda snapshot: _find_cron(snapshot, "suspended"),
    ),
)
