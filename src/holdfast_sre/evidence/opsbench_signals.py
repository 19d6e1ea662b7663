"""Alerts and error logs of the Cloud-OpsBench layout as signals, failed requests and log lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from holdfast_sre.evidence.snapshot import Failure, LogLine, Ref, Signal, SignalKind

_CHANGE = re.compile(r"Normal=([0-9.]+)\S*(?: cores)? -> Cur(?:rent)?=([0-9.]+)")
_LATENCY = re.compile(r"p([0-9]+)latency: Normal=([0-9.]+)ms -> Current=([0-9.]+)ms")
_VALUE = re.compile(r"Val: ([0-9.]+)")
_STATUS = re.compile(r"\b([45][0-9]{2})\b")
LINES_PER_WORKLOAD_MAX = 400
TEXT_CHARS_MAX = 4_000
"""Of a line or message so much is kept: what decides stands early in it, and nobody waits for a line of 100 MB."""

_PREFIXES: tuple[tuple[str, SignalKind], ...] = (
    ("LATENCY_DEGRADATION", "latency"),
    ("THROUGHPUT_DROP", "throughput_drop"),
    ("TRAFFIC_ANOMALY [Network Drop]", "traffic_drop"),
    ("TRAFFIC_ANOMALY [Network Surge]", "traffic_surge"),
    ("THROUGHPUT_SURGE", "throughput_surge"),
    ("NETWORK_QUALITY_DEGRADED [TCP Retransmission]", "retransmissions"),
    ("ERROR_SPIKE", "errors"),
    ("RESOURCE_SATURATION [cpu_cfs]", "cpu_throttled"),
    ("RESOURCE_SATURATION [cpu", "cpu"),
)


def _alerts(report: Any) -> Iterator[dict[str, Any]]:
    alerts = report.get("alerts") if isinstance(report, Mapping) else None
    yield from (alert for alert in _listed(alerts) if isinstance(alert, dict))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def signals_in(report: Any) -> Iterator[Signal]:
    """Measured deviations: one per percentile of a latency, of other kinds the most deviant value."""
    for alert in _alerts(report):
        kind = "Node" if alert.get("type") == "Node" else "Service"
        subject = Ref(kind, str(alert.get("name", "")))
        for text in _listed(alert.get("evidence")):
            yield from _signals(subject, str(text)[:TEXT_CHARS_MAX])


def _signals(subject: Ref, text: str) -> Iterator[Signal]:
    kind = next((kind for prefix, kind in _PREFIXES if text.startswith(prefix)), None)
    if kind is None:
        return
    if kind == "latency":
        for percentile, normal, current in _LATENCY.findall(text):
            yield Signal(subject, kind, float(current), float(normal), text, int(percentile))
        return
    changes = [(float(normal), float(current)) for normal, current in _CHANGE.findall(text)]
    value = _VALUE.search(text)
    if changes:
        normal, current = max(changes, key=lambda change: abs(change[1] - change[0]) / (change[0] or 1e-9))
        yield Signal(subject, kind, current, normal, text)
    elif value:
        yield Signal(subject, kind, float(value[1]), None, text)


def failures_in(report: Any) -> Iterator[Failure]:
    """Failed requests from outside."""
    for alert in _alerts(report):
        if "entry_service" not in alert:
            continue
        error = str(alert.get("raw_error", ""))[:TEXT_CHARS_MAX]
        status = _STATUS.search(error)
        count = alert.get("occurrences")
        yield Failure(
            service=str(alert["entry_service"]),
            url=str(alert.get("url", ""))[:TEXT_CHARS_MAX],
            status=int(status[1]) if status else 0,
            count=count if isinstance(count, int) else 1,
            text=f"{alert.get('request_method', '')} {alert.get('url', '')}: {error} ({count} times)"[:TEXT_CHARS_MAX],
        )


def lines_in(workload: str, value: Any) -> Iterator[LogLine]:
    """Log lines of any of the layout's forms: grouped patterns, lists by source, or text."""
    if isinstance(value, str):
        value = _decoded(value)
    if isinstance(value, Mapping) and isinstance(value.get("patterns"), list):
        for pattern in value["patterns"][:LINES_PER_WORKLOAD_MAX]:
            if isinstance(pattern, Mapping):
                count = pattern.get("count")
                yield LogLine(
                    workload, str(pattern.get("sample", ""))[:TEXT_CHARS_MAX], count if isinstance(count, int) else 1
                )
        return
    groups = value.values() if isinstance(value, Mapping) else [value]
    for group in groups:
        lines = group if isinstance(group, list) else [group]
        for line in lines[:LINES_PER_WORKLOAD_MAX]:
            if isinstance(line, str) and line.strip():
                yield LogLine(workload, line[:TEXT_CHARS_MAX])


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
