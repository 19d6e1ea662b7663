"""Events, changes and logs about a finding on one line of time.

Ages are counted back from the snapshot. Log lines count where they begin with a time and the snapshot says when it was
taken; both are compared as they were written, by the clock of the cluster that wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from holdfast_sre.diagnosis.findings import Finding, Moment, quote
from holdfast_sre.durations import duration
from holdfast_sre.evidence.snapshot import Ref, Snapshot

MOMENTS_MAX = 12
CHANGES_MAX = 8
"""How many of the changes that others know of stand on a line of time: events and logs need room beside them."""
DAY_S = 86_400.0
_CHANGES = frozenset(
    ("ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "SuccessfulRescale", "Killing", "NodeNotSchedulable")
)
"""Reasons of events that tell of somebody's or a controller's doing."""
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})")


def timeline(snapshot: Snapshot, finding: Finding, changes: Iterable[Moment] = ()) -> tuple[Moment, ...]:
    """What happened to a finding's object and its victims, oldest first, at most MOMENTS_MAX.

    `changes` are those that others know of, such as commits, in the order of their weight: the first CHANGES_MAX stand
    on the line. Of the rest changes are kept before events, events before logs, and of each the latest: the cause is
    seldom far from the first symptom.
    """
    given = tuple(dict.fromkeys(changes))[:CHANGES_MAX]
    found = dict.fromkeys((*_events(snapshot, _about(finding)), *_logs(snapshot, _about(finding))))
    order = {"change": 0, "event": 1, "log": 2}
    latest = sorted(found, key=lambda moment: (order[moment.kind], moment.age_s))[: MOMENTS_MAX - len(given)]
    kept = (*given, *latest)
    return tuple(sorted(kept, key=lambda moment: (-moment.age_s, order[moment.kind], moment.source)))


def first_symptom_age_s(snapshot: Snapshot, finding: Finding) -> float | None:
    """How long before the snapshot the first symptom on record was: an event that warns, or a line of a log. Of an
    event that came again only its last time is known. None where nothing has a time."""
    about = _about(finding)
    ages = [moment.age_s for moment in (*_events(snapshot, about), *_logs(snapshot, about)) if moment.kind != "change"]
    return max(ages, default=None)


def _about(finding: Finding) -> set[Ref]:
    return {finding.object, *finding.victims}


def _events(snapshot: Snapshot, about: set[Ref]) -> Iterator[Moment]:
    for ref in sorted(about):
        for event in dict.fromkeys((*snapshot.events_of(ref), *snapshot.events_under(ref))):
            if event.age_s is None or (event.type != "Warning" and event.reason not in _CHANGES):
                continue
            said = quote(event.about, f"{event.reason}: {event.message}")
            kind = "change" if event.reason in _CHANGES else "event"
            yield Moment(event.age_s, "change" if kind == "change" else "event", said.source, said.text)


def _logs(snapshot: Snapshot, about: set[Ref]) -> Iterator[Moment]:
    taken = _moment(snapshot.taken_at)
    if taken is None:
        return
    for name in sorted({ref.name for ref in about}):
        for line in snapshot.logs_of(name):
            written = _moment(line.text[:64])
            age_s = (taken - written).total_seconds() if written else -1.0
            if 0.0 <= age_s <= DAY_S:
                said = quote(f"log of {name}", line.text)
                yield Moment(age_s, "log", said.source, said.text)


def _moment(text: str) -> datetime | None:
    match = _TIME.search(text)
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}") if match else None
    except ValueError:
        return None


def taken_at_s(snapshot: Snapshot) -> float | None:
    """When the recording was taken, epoch seconds; None where it does not say. A time without a zone is UTC."""
    try:
        taken = datetime.fromisoformat(snapshot.taken_at)
    except ValueError:
        found = _moment(snapshot.taken_at)
        if found is None:
            return None
        taken = found
    return (taken if taken.tzinfo else taken.replace(tzinfo=UTC)).timestamp()


def told(moments: Sequence[Moment]) -> list[str]:
    """Lines for people: how long before the snapshot, what, where, and the text."""
    return [f"-{_age(moment.age_s)}  {moment.kind}  {moment.source}: {moment.text}" for moment in moments]


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else duration(seconds)
