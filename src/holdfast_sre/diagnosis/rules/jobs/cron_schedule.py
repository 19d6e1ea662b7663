"""A schedule that no controller can read starts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast_sre.diagnosis.findings import Field, Finding, Rule, quote
from holdfast_sre.evidence.snapshot import Snapshot, dig

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


def _find(snapshot: Snapshot) -> Iterator[Finding]:
    for ref, cron in snapshot.of_kind("CronJob"):
        schedule = str(dig(cron, "spec.schedule") or "")
        if not is_schedule(schedule):
            told = (quote(ref, f"schedule {schedule!r} is none"),)
            yield Finding("cron-schedule", ref, 0.93, told, (Field(ref, "spec.schedule"),))


RULE = Rule(
    id="cron-schedule",
    title="The cron job's schedule is none",
    holds="the schedule does not have five fields in their bounds",
    mending="put back the last schedule",
    proof="the next run is created",
    repair="patch",
    find=_find,
)
