"""The page that names a test for each promise names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "explanation" / "resilience-traced.md"


def test_each_test_that_the_page_names_exists() -> None:
    page = PAGE.read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) > 100
    for place, name in named:
        assert f"def {name}(" in (TESTS / place).read_text(), f"{place} has no {name}"
    rows = [
        line for line in PAGE.read_text().splitlines() if line.startswith("| ") and line != "| promise | shown by |"
    ]
    assert len(rows) == len(named), "a promise without a test"
