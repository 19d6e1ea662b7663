"""The table of metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidInput
from holdfast_sre.evidence import opsbench_metrics
from holdfast_sre.evidence.opsbench import read_incident
from holdfast_sre.evidence.opsbench_metrics import measures_in, read_measures
from holdfast_sre.evidence.snapshot import Measure, Ref

HEAD = ["time", "till-rps", "till-p90latency", "node-a-tcp_retans", "till-unheard", "x"]
ALERTS = {"alerts": [{"time_range": "2026-01-01 00:00:20 ~ 2026-01-01 00:00:30"}]}
TILL, NODE = Ref("Service", "till"), Ref("Node", "node-a")


def table(*rows: tuple[float | str, ...]) -> list[list[str]]:
    return [HEAD, *[[f"2026-01-01 00:00:{index * 10:02}", *map(str, row)] for index, row in enumerate(rows)]]


ROWS = table((1, 10, 0, 5), (3, 0, 0, 5), (8, 900, 2, 5), (6, 700, 4, 5), (1, 10, 0, 5))


def test_the_alerts_tell_what_was_before_and_what_is_the_incident() -> None:
    assert list(measures_in(ROWS, ALERTS, frozenset({"node-a"}))) == [
        Measure(TILL, "requests", 2.0, 7.0),
        Measure(TILL, "latency_ms", 10.0, 800.0, 90),
        Measure(NODE, "retransmissions", 0.0, 3.0),
    ]


@pytest.mark.parametrize("report", [{}, None, {"alerts": [{"time_range": 7}]}, {"alerts": [{"time_range": "x ~ y"}]}])
def test_without_a_time_the_first_quarter_is_normal(report: object) -> None:
    found = next(iter(measures_in(ROWS, report, frozenset())))
    assert (found.normal, found.current) == (1.0, 4.5)


def test_a_latency_of_nothing_means_that_nobody_asked() -> None:
    rows = table((1, 0, 0, 0), (1, 0, 0, 0), (1, 900, 0, 0), (1, 0, 0, 0))
    found = [item for item in measures_in(rows, ALERTS, frozenset()) if item.kind == "latency_ms"]
    assert [(item.normal, item.current) for item in found] == [(0.0, 900.0)]


def test_cells_that_are_no_numbers_are_passed_over() -> None:
    rows = table(("", "nan", "inf", "x"), (2, "", "?", ""), ("x", "", "", ""), (4, "", "", ""))
    assert list(measures_in(rows, ALERTS, frozenset())) == [Measure(TILL, "requests", 2.0, 4.0)]


@given(st.lists(st.lists(st.text(max_size=12), max_size=6), max_size=6))
def test_no_table_breaks_the_reader(rows: list[list[str]]) -> None:
    list(measures_in([HEAD, *rows], ALERTS, frozenset()))
    list(measures_in(rows, ALERTS, frozenset()))


def test_a_table_that_is_too_large_or_no_text_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_measures(tmp_path, {}, frozenset()) == ()
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"metrics.csv: expected a table of metrics"):
        read_measures(tmp_path, {}, frozenset())
    monkeypatch.setattr(opsbench_metrics, "METRICS_BYTES_MAX", 2)
    with pytest.raises(InvalidInput, match=r"expected at most 2 bytes of metrics, saw 3"):
        read_measures(tmp_path, {}, frozenset())


def test_an_incident_with_broken_metrics_is_read_without_them(tmp_path: Path) -> None:
    (tmp_path / "tool_cache.json").write_text("{}")
    (tmp_path / "incident.json").write_text(json.dumps({"namespace": "bakery"}))
    (tmp_path / "metrics.csv").write_bytes(b"\xff\xfe\x00")
    snapshot = read_incident(tmp_path).snapshot
    assert snapshot.measures == ()
    assert any("metrics.csv" in text for text in snapshot.missing)
