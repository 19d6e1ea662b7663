"""The documents are true and complete: blocks run, links lead somewhere, names, commands and news are told.

And each of the checks finds a planted fault.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
import typer.main
from typer.testing import CliRunner

import holdfast
import holdfast_sre.__main__
from tests.architecture.street import FLOOR
from tests.documentation.completeness import (
    bad_fragments,
    missing_news,
    names_of_tests,
    undocumented_commands,
    undocumented_names,
)
from tests.documentation.pages import Page, broken_links, load_pages, orphans
from tests.documentation.run_page import COMMANDS, commands_of, is_shown

ROOT = Path(__file__).resolve().parents[1]
PAGES = load_pages(ROOT)
FOLDERS = ("tutorial", "howto", "reference", "explanation", "decisions")
NEWS = {path.name: path.read_text("utf-8") for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"}
COMMAND_LINES = {
    "holdfast": ("holdfast.__main__", "docs/reference/cli.md"),
    "holdfast-sre": ("holdfast_sre.__main__", "docs/reference/cli-sre.md"),
}


def run_page(page: Page, folder: Path) -> subprocess.CompletedProcess[str]:
    """The page's blocks, run by an interpreter of their own in `folder`, warnings being errors."""
    path = folder / "page.md"
    path.write_text(page.text, "utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-m", "tests.documentation.run_page", path.name]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)


class TestBlocks:
    @pytest.mark.parametrize("place", [place for place, page in PAGES.items() if page.blocks()])
    def test_the_pages_blocks_run(self, place: str, tmp_path: Path) -> None:
        done = run_page(PAGES[place], tmp_path)
        assert done.returncode == 0, done.stderr

    def test_blocks_share_one_namespace_and_one_loop(self, tmp_path: Path) -> None:
        text = (
            "```python\nimport asyncio\nloop = asyncio.get_running_loop()\nawait asyncio.sleep(0)\n```\nThen\n"
            "```python\nawait asyncio.sleep(0)\nassert loop is asyncio.get_running_loop()\n```\n"
            "```python no-run\n1 / 0\n```\n"
        )
        done = run_page(Page("page.md", text), tmp_path)
        assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("```python\nx = 1\n```\n\n```python\nx / 0\n```\n", 'File "page.md", line 6'),
            ("```python\nawait missing()\n```\n", "NameError"),
            ("```python\nimport warnings\nwarnings.warn('old')\n```\n", "UserWarning"),
            ("```python no-run\nx = = 1\n```\n", "SyntaxError"),
            ("```python\nx = 1\n", "a fenced block that never ends"),
            ("```console run\n$ rm -r folder\n```\n", "expected a command of"),
            ("```console run\n$ holdfast no-such-command\n```\n", "page.md:2: expected exit code 0, saw"),
        ],
    )
    def test_a_block_that_fails_is_found(self, text: str, message: str, tmp_path: Path) -> None:
        done = run_page(Page("page.md", text), tmp_path)
        assert done.returncode != 0
        assert message in done.stderr

    def test_console_blocks_split_into_commands_and_their_output(self) -> None:
        (block,) = Page("page.md", "```console run\n$ holdfast ps 'a b'\none\ntwo\n$ holdfast doctor\n```\n").blocks()
        first, second = commands_of(block)
        assert (first.line, first.words, first.expected) == (2, ("holdfast", "ps", "a b"), "one\ntwo")
        assert (second.line, second.words, second.expected) == (5, ("holdfast", "doctor"), "")

    def test_output_is_compared_but_for_what_the_page_leaves_open(self) -> None:
        assert is_shown("INC-42  ...  review", "INC-42 0192 review")
        assert is_shown("", "whatever")
        assert not is_shown("INC-42 ... review", "INC-42 0192 escalated")

    def test_consoles_show_our_commands_where_they_run(self) -> None:
        blocks = [block for page in PAGES.values() for block in page.blocks() if block.language == "console"]
        assert [c.words for b in blocks if "run" in b.marks for c in commands_of(b) if c.words[0] not in COMMANDS] == []


class TestReadme:
    def test_its_programs_are_programs(self) -> None:
        """Somebody saves them and starts them: no await at the top, and no loop where they are only imported."""
        for block in PAGES["README.md"].blocks():
            if block.language == "python":
                compile(block.text, "README.md", "exec")
                assert 'if __name__ == "__main__":' in block.text

    def test_the_pictures_are_what_the_commands_draw(self, tmp_path: Path) -> None:
        done = run_page(PAGES["README.md"], tmp_path)
        assert done.returncode == 0, done.stderr
        pictures = ROOT / "docs" / "pictures"
        assert (tmp_path / "incident.svg").read_text() == (pictures / "incident.svg").read_text()
        drawn = CliRunner().invoke(holdfast_sre.__main__.app, ["chart", "--svg", str(tmp_path / "bot.svg")])
        assert drawn.exit_code == 0, drawn.output
        assert (tmp_path / "bot.svg").read_text() == (pictures / "bot.svg").read_text()


class TestLinks:
    def test_links_lead_somewhere(self) -> None:
        assert broken_links(PAGES, ROOT) == []

    def test_every_page_is_reached_from_the_readme(self) -> None:
        assert orphans(PAGES, start="README.md") == []

    def test_a_broken_link_is_found(self, tmp_path: Path) -> None:
        pages = {
            "docs/a.md": Page(
                "docs/a.md", "[b](b.md) [c](../c.md) [b](b.md#two-words) [b](b.md#three) [x](https://x.org)"
            ),
            "docs/b.md": Page("docs/b.md", "# Two words\n```text\n[c](nowhere.md)\n```\n"),
        }
        assert [fault.split(": ")[1] for fault in broken_links(pages, tmp_path)] == [
            "link to ../c.md",
            "link to b.md#three",
        ]

    def test_an_orphan_is_found(self) -> None:
        pages = {
            place: Page(place, text) for place, text in {"a.md": "[b](d/b.md)", "d/b.md": "", "d/c.md": ""}.items()
        }
        assert orphans(pages, start="a.md") == ["d/c.md: no link leads here from a.md"]


class TestCompleteness:
    def test_every_public_name_is_in_the_reference(self) -> None:
        reference = [page for place, page in PAGES.items() if place.startswith("docs/reference/")]
        assert undocumented_names(holdfast.__all__, reference) == []

    @pytest.mark.parametrize("program", COMMAND_LINES)
    def test_every_command_and_option_is_in_the_reference(self, program: str) -> None:
        module, place = COMMAND_LINES[program]
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{program} has no command line")
        command = typer.main.get_command(importlib.import_module(module).app)
        assert undocumented_commands(command, program, PAGES.get(place)) == []

    def test_every_room_has_a_page_that_explains_it(self) -> None:
        rooms = sorted(path.parent.name for path in (ROOT / "src" / "holdfast").glob("*/__init__.py"))
        assert [room for room in rooms if f"docs/explanation/{room}.md" not in PAGES] == []

    def test_every_test_that_a_table_names_is_there(self) -> None:
        known = names_of_tests(ROOT / "tests")
        missing = [
            f"{place}: {name}"
            for place, page in PAGES.items()
            for row in re.findall(r"^\|.*$", page.text, re.MULTILINE)
            for name in re.findall(r"`(?:[\w/]+/)?(test_\w+(?:\.py)?|Test[A-Z]\w*)`", row)
            if name not in known and name != "test_mode"
        ]
        assert missing == []

    def test_every_page_stands_in_a_folder_of_one_kind(self) -> None:
        deep = [place.split("/") for place in PAGES if place.startswith("docs/") and place.count("/") > 1]
        assert [parts for parts in deep if parts[1] not in FOLDERS or len(parts) != 3] == []

    def test_decisions_follow_the_template(self) -> None:
        decisions = [page for place, page in PAGES.items() if re.match(r"docs/decisions/\d{4}-", place)]
        wanted = ["Context", "Decision", "Consequences"]
        assert [p.place for p in decisions if [s.title for s in p.sections()][1:] != wanted] == []
        listed = re.findall(
            r"^- \[\d{4}: .*\]\((.+\.md)\)$", PAGES["docs/decisions/README.md"].text, flags=re.MULTILINE
        )
        assert listed == sorted(page.place.rpartition("/")[2] for page in decisions), "each is listed once, in order"

    def test_the_glossary_has_each_word_once_and_in_order(self) -> None:
        tables = re.split(r"^## ", PAGES["docs/glossary.md"].text, flags=re.MULTILINE)[1:]
        assert [table.partition("\n")[0].split()[0] for table in tables] == ["Words", "Names", "Words"]
        words = [re.findall(r"^\| (?!word |name )(.+?) \|", table, flags=re.MULTILINE) for table in tables]
        assert all(len(some) > 5 for some in words)
        assert [word for some in words for word in sorted(some, key=_plain) if some.count(word) > 1] == []
        assert words == [sorted(some, key=_plain) for some in words]
        assert set(words[0]) & set(words[2]) == set()

    def test_the_glossary_knows_the_rooms(self) -> None:
        """The last column of the spec's names is a room of the street, and the true one where the name is public."""
        rows = re.findall(r"^\| `(\w+)` \|.*\| `(\w+)` \|$", PAGES["docs/glossary.md"].text, flags=re.MULTILINE)
        assert len(rows) > 15
        assert [row for row in rows if row[1] not in FLOOR] == []
        public = [(name, room) for name, room in rows if name in holdfast.__all__]
        assert [(name, room) for name, room in public if getattr(holdfast, name).__module__.split(".")[1] != room] == []

    def test_an_undocumented_name_is_found(self) -> None:
        page = Page("docs/reference/a.md", "# Engine\nSee `holdfast.Lease` and Workflow.\n```python\nPatch\n```\n")
        found = undocumented_names(["Engine", "Lease", "Workflow", "Patch"], [page])
        assert [fault.partition(":")[0] for fault in found] == ["Patch", "Workflow"]

    def test_an_undocumented_command_or_option_is_found(self) -> None:
        app = typer.Typer()

        @app.command()
        def ps(user: str, all_runs: Annotated[bool, typer.Option("--all")] = False, limit: int = 3) -> None: ...

        @app.command()
        def doctor() -> None: ...

        page = Page("cli.md", "# The command line\n## `x ps`\nOf USER. With `--all` all.\n## Else\n`--limit`\n")
        found = undocumented_commands(typer.main.get_command(app), "x", page)
        assert found == [
            "x ps: --limit is not told below its heading",
            "x doctor: no heading of this name in its reference page",
        ]


class TestNews:
    def test_fragments_can_become_a_changelog(self) -> None:
        assert bad_fragments(NEWS) == []

    def test_every_change_of_the_public_surface_is_news(self) -> None:
        released = (ROOT / "changes" / "released.txt").read_text("utf-8").split()
        assert missing_news(released, holdfast.__all__, NEWS, package="holdfast") == []

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("leases.improved.md", "Leases are better."),
            ("Leases.fixed.md", "Leases are better."),
            ("leases.md", "Leases are better."),
            ("leases.fixed.md", ""),
            ("leases.fixed.md", "leases"),
            ("leases.fixed.md", "# Leases\nThey are better."),
        ],
    )
    def test_a_bad_fragment_is_found(self, name: str, text: str) -> None:
        assert len(bad_fragments({name: text})) == 1

    def test_missing_news_is_found(self) -> None:
        texts = {"a.added.md": "`holdfast.Engine` is new.", "b.added.md": "So is Lease."}
        found = missing_news(["Old"], ["Engine", "Lease"], texts, package="holdfast")
        assert found == ["holdfast.Lease: came, and no news tells", "holdfast.Old: went, and no news tells"]


def _plain(word: str) -> str:
    return word.strip("`").lower()
