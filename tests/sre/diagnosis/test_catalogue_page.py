"""The catalogue's page is what the rules say; `python -m tests.sre.diagnosis.test_catalogue_page` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from holdfast_sre.cli.diagnosis import register
from holdfast_sre.diagnosis.catalogue_page import page
from holdfast_sre.diagnosis.rules import CATALOGUE, FAMILIES

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "sre-catalogue.md"


def test_the_page_is_what_the_rules_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(FAMILIES), "run: python -m tests.sre.diagnosis.test_catalogue_page"


def test_a_rule_that_changes_changes_the_page() -> None:
    assert page({"One thing.": CATALOGUE[:1]}) != page({"One thing.": CATALOGUE[1:2]})
    assert f"### `{CATALOGUE[0].id}`" in page({"One thing.": CATALOGUE[:1]})


def test_the_command_tells_every_rule() -> None:
    app = typer.Typer()
    register(app)
    lines = CliRunner().invoke(app, ["catalogue", "--json"]).stdout.splitlines()
    assert [json.loads(line)["rule"] for line in lines] == [rule.id for rule in CATALOGUE]
    assert CliRunner().invoke(app, ["catalogue", "--markdown"]).stdout == page(FAMILIES)
    told = CliRunner().invoke(app, ["catalogue"]).stdout
    assert all(rule.title in told for rule in CATALOGUE)


if __name__ == "__main__":
    PAGE.write_text(page(FAMILIES), encoding="utf-8")
