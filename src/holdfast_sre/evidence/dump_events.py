"""Events as the API has them, old and new form, with their age at the moment of the dump."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from holdfast_sre.evidence.snapshot import Event, Ref, dig

_TIMES = ("lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp", "deprecatedFirstTimestamp")


def seconds_of(text: object) -> float | None:
    """Seconds since the epoch of a time as the API writes it; None where it is none."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def moment_of(items: Iterable[Mapping[str, Any]]) -> float | None:
    """The latest time that any event or node of a dump tells: when it was taken, as well as can be known."""
    times = []
    for item in items:
        if item.get("kind") == "Event":
            times.append(_last_seen(item))
        elif item.get("kind") == "Node":
            conditions = dig(item, "status.conditions")
            told = conditions if isinstance(conditions, list) else ()
            times.extend(seconds_of(dig(condition, "lastHeartbeatTime")) for condition in told)
        times.append(seconds_of(dig(item, "metadata.creationTimestamp")))
    return max((time for time in times if time is not None), default=None)


def told_moment(moment_s: float | None) -> str:
    """A moment as a recording tells when it was taken: ISO 8601, UTC; empty where it is not known."""
    return "" if moment_s is None else datetime.fromtimestamp(moment_s, UTC).isoformat(timespec="seconds")


def event_of(item: Mapping[str, Any], moment_s: float | None) -> Event | None:
    """One event; None where it tells of no object."""
    about = item.get("involvedObject") or item.get("regarding")
    kind, name = (dig(about, key) for key in ("kind", "name")) if isinstance(about, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(name, str):
        return None
    seen = _last_seen(item)
    counts = (dig(item, "series.count"), item.get("count"), item.get("deprecatedCount"))
    count = next((number for number in counts if isinstance(number, int) and number > 0), 1)
    return Event(
        about=Ref(kind, name),
        type=str(item.get("type") or ""),
        reason=str(item.get("reason") or ""),
        message=str(item.get("message") or item.get("note") or ""),
        count=count,
        age_s=None if seen is None or moment_s is None else max(0.0, moment_s - seen),
    )


def _last_seen(item: Mapping[str, Any]) -> float | None:
    times = [dig(item, "series.lastObservedTime"), *(item.get(key) for key in _TIMES)]
    return next((seconds for time in times if (seconds := seconds_of(time)) is not None), None)
