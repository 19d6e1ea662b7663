"""The benchmarks' own arithmetic: who runs when, which way a ratio points, who is said to win."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks.harness import (
    Better,
    Comparison,
    Report,
    Series,
    compare,
    machine,
    options,
    publish,
    render,
    seconds_per_call,
    verdict,
)


def of(better: Better, **figures: float) -> Comparison:
    return Comparison("q", "unit", better, "holdfast", {name: Series((value,)) for name, value in figures.items()})


def test_rounds_interleave_and_begin_with_another_each() -> None:
    order: list[str] = []

    def contestant(name: str) -> Callable[[], float]:
        def run() -> float:
            order.append(name)
            return float(len(order))

        return run

    result = compare("q", {n: contestant(n) for n in "abc"}, unit="turn", better="more", rounds=3, ours="a")
    assert "".join(order) == "abcbcacab"
    assert result.series["a"].values == (1.0, 6.0, 8.0)


def test_a_ratio_above_one_means_ours_is_better_either_way() -> None:
    assert of("more", holdfast=30, peer=10).ratios("peer").median == 3
    assert of("less", holdfast=10, peer=30).ratios("peer").median == 3


def test_the_best_peer_is_the_one_to_beat() -> None:
    assert of("more", holdfast=5, slow=1, fast=9).best_peer() == "fast"
    assert of("less", holdfast=5, slow=9, fast=1).best_peer() == "fast"
    assert of("less", holdfast=5).best_peer() is None


def test_a_rivals_win_is_said() -> None:
    assert verdict(of("more", holdfast=5, peer=10)) == "peer wins: it is 2.00 times better than holdfast"
    assert verdict(of("less", holdfast=5, peer=10)) == "holdfast is 2.00 times better than the best peer, peer"


def test_spread_is_quartiles_or_the_extremes_of_few() -> None:
    assert Series((1.0, 2.0, 3.0, 4.0, 5.0)).spread == (2.0, 4.0)
    assert Series((3.0, 1.0)).spread == (1.0, 3.0)


def test_ours_must_take_part() -> None:
    with pytest.raises(ValueError, match="expected a contestant 'holdfast'"):
        compare("q", {"peer": lambda: 1.0}, unit="s", better="less", rounds=1)


def test_seconds_per_call_counts_calls_until_it_took_long_enough() -> None:
    calls: list[int] = []
    assert 0 < seconds_per_call(lambda: calls.append(1), at_least_s=0.001) < 0.001
    assert len(calls) > 1


def test_json_holds_every_raw_figure_and_no_host(capsys: pytest.CaptureFixture[str]) -> None:
    publish("demo", [of("more", holdfast=2, peer=1)], options("d", ["--json"]), servers=["PostgreSQL 18.0"])
    report = msgspec.json.decode(capsys.readouterr().out, type=Report)
    assert report.comparisons[0].series["peer"].values == (1.0,)
    known = {"cpus", "architecture", "system", "python", "sqlite", "date", "servers"}
    assert set(msgspec.to_builtins(report.machine)) == known
    assert "PostgreSQL 18.0" in str(report.machine)


def test_a_kept_report_is_shown_beside_the_new_one(tmp_path: Path) -> None:
    then = Report("demo", machine(), "", (of("more", holdfast=123, peer=1),))
    now = Report("demo", machine(), "", (of("more", holdfast=456, peer=1),))
    path = tmp_path / "then.json"
    path.write_bytes(msgspec.json.encode(then))
    out = io.StringIO()
    render(now, msgspec.json.decode(path.read_bytes(), type=Report), Console(file=out, width=120))
    assert "456" in out.getvalue()
    assert "123" in out.getvalue()


def test_rounds_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options("d", ["--rounds", "0"])
    assert "expected 1 or more, saw 0" in capsys.readouterr().err
