"""The command: what it counts, what it prints of a broken promise, and how it ends then."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from holdfast.__main__ import app
from holdfast.cli.rules import STOPPED
from holdfast.testing.simulation import Report, command, simulate
from holdfast.testing.simulation.draws import Trouble


def test_seeds_are_counted_and_compared() -> None:
    done = CliRunner().invoke(app, ["simulate", "--seeds", "3", "--seed", "100", "--sqlite", "2", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["seeds"], told["seed"], told["problems"]) == (3, 100, {})
    assert set(told["seen"]) == {trouble.value for trouble in Trouble}
    assert told["effects"] == sum(simulate(seed).effects for seed in (100, 101, 102))


def test_a_broken_promise_is_told_with_all_that_was_drawn() -> None:
    report = simulate(5)
    words = command.told(5, ["a promise"], report)
    assert "a promise" in words
    assert all(str(strike) in words for strike in report.plan.strikes)


@pytest.mark.parametrize("words", [("--seeds", "0"), ("--seed", "-1"), ("--sqlite", "-1")])
def test_numbers_that_mean_nothing_are_refused(words: tuple[str, str]) -> None:
    assert CliRunner().invoke(app, ["simulate", *words]).exit_code == 2


def test_who_stops_it_hears_what_was_seen_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_at_the_third(seed: int) -> Report:
        if seed == 2:
            raise KeyboardInterrupt
        return simulate(seed)

    monkeypatch.setattr(command, "simulate", stopped_at_the_third)
    done = CliRunner().invoke(app, ["simulate", "--seeds", "5", "--sqlite", "0"])
    assert done.exit_code == STOPPED
    assert done.stdout.startswith("2 seeds from 0 on: 0 with problems")


def test_the_damage_that_is_simulated_is_not_logged() -> None:
    """In seed 13 an engine finds a run whose bytes were changed, and logs that as an error."""
    words = ("simulate", "--seeds", "1", "--seed", "13", "--sqlite", "0")
    done = subprocess.run([sys.executable, "-m", "holdfast", *words], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
