"""The metrics of the Cloud-OpsBench layout: a table of one row a moment, one column for each metric of each subject.

    time,till-rps,till-p90latency,...,node-a-tcp_retans
    2026-01-02 03:04:05,1.2,7.5,...,0.0

What counts as before and during the incident is told by the time ranges of the alerts. Without one the first quarter of
the rows is taken for normal.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from holdfast import InvalidInput
from holdfast_sre.evidence.snapshot import Measure, MeasureKind, Ref

METRICS_FILE = "metrics.csv"
METRICS_BYTES_MAX = 32 << 20
ROWS_MAX = 5_000
COLUMNS_MAX = 20_000
NORMAL_SHARE = 0.25
"""Share of the rows that count as normal where no alert tells when the incident began."""

_KINDS: Mapping[str, MeasureKind] = {
    "rps": "requests",
    "success_rate": "successes",
    "network_receive": "packets_in",
    "network_transmit": "packets_out",
    "cpu": "cpu",
    "cpu_cfs": "throttled_s",
    "tcp_retans": "retransmissions",
    "tcp_retrans": "retransmissions",
}
_LATENCY = re.compile(r"p([0-9]{1,3})latency")


def read_measures(folder: Path, report: Any, nodes: frozenset[str]) -> tuple[Measure, ...]:
    """The metrics in a folder, each before and during the incident; none where the folder has no such file.

    `report` are the alerts, `nodes` the names of nodes. Raises InvalidInput, naming the file, where it is too large or
    no table.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        return ()
    size = path.stat().st_size
    if size > METRICS_BYTES_MAX:
        raise InvalidInput(f"{path}: expected at most {METRICS_BYTES_MAX} bytes of metrics, saw {size}", path=str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row, _ in zip(csv.reader(lines), range(ROWS_MAX), strict=False)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path}: expected a table of metrics, saw: {error}", path=str(path)) from error
    return tuple(measures_in(rows, report, nodes))


def measures_in(rows: Sequence[Sequence[str]], report: Any, nodes: frozenset[str]) -> Iterator[Measure]:
    """The measures in a table with a heading. A cell that is no number is passed over, and so is a column of none."""
    if len(rows) < 2:
        return
    before, during = _windows([row[0] if row else "" for row in rows[1:]], report)
    for index, name in enumerate(rows[0][:COLUMNS_MAX]):
        subject, _, metric = name.rpartition("-")
        match = _LATENCY.fullmatch(metric)
        kind: MeasureKind | None = "latency_ms" if match else _KINDS.get(metric)
        if not subject or kind is None:
            continue
        known, seen = (
            [value for row in window if (value := _number(rows[1 + row], index)) is not None]
            for window in (before, during)
        )
        ref = Ref("Node" if subject in nodes else "Service", subject)
        if match:  # A latency of nothing means that nobody asked.
            known, seen = ([value for value in values if value > 0.0] for values in (known, seen))
            if seen:
                yield Measure(ref, kind, median(known) if known else 0.0, median(seen), int(match[1]))
        elif known and seen:
            yield Measure(ref, kind, fmean(known), fmean(seen))


def _number(row: Sequence[str], index: int) -> float | None:
    try:
        value = float(row[index])
    except (IndexError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _windows(times: Sequence[str], report: Any) -> tuple[range, range]:
    """The rows before the incident and those of it."""
    start, end = _range_of(report)
    first = next((index for index, time in enumerate(times) if start and time >= start), 0)
    last = next((index for index, time in enumerate(times) if end and time > end), len(times))
    if not 0 < first < last:
        first, last = max(1, int(len(times) * NORMAL_SHARE)), len(times)
    return range(first), range(first, last)


def _range_of(report: Any) -> tuple[str, str]:
    """Start and end of the first alert that has both, in the text form of the table; empty where there is none."""
    alerts = report.get("alerts") if isinstance(report, Mapping) else None
    for alert in alerts if isinstance(alerts, list) else ():
        text = alert.get("time_range") if isinstance(alert, Mapping) else None
        start, found, end = str(text or "").partition(" ~ ")
        if found:
            return start.strip(), end.strip()
    return "", ""
