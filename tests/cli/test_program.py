"""The program as users start it: by name, by module, beside an engine at work; its settings and exit codes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holdfast import (
    CommitUnknown,
    Conflict,
    Corrupt,
    Engine,
    Fenced,
    HoldfastError,
    InvalidInput,
    InvalidTransition,
    NotFound,
    RunHandle,
    Unavailable,
)
from holdfast.__main__ import app
from holdfast.app import load_settings
from holdfast.cli.command import GROUPS
from holdfast.cli.rules import EXIT_CODES, exit_code
from tests.cli.conftest import Call
from tests.cli.shop import HASH, SLOW_STOPPED, settled, workflow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
SECONDS_MAX = 30


def program(*words: str, store: str) -> list[str]:
    """The command line of the program in a process of its own."""
    return [sys.executable, "-W", "error", "-m", "holdfast", *words, "--store", store]


async def called(*words: str, store: str) -> tuple[int, str]:
    """Its exit code and output, while this loop goes on."""
    process = await asyncio.create_subprocess_exec(
        *program(*words, store=store), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS_MAX):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
async def engine(store: str) -> AsyncIterator[Engine]:
    async with Engine(store, workflow) as engine:
        yield engine


async def started(engine: Engine, item: str) -> RunHandle:
    """A run in review, or at work."""
    run = await engine.start("shop", item, id="INC-0", user="ana")
    if item != "slow":
        await settled(engine, run.id, "ana")
    return run


def test_the_program_tells_its_version_and_its_commands(call: Call) -> None:
    assert call("--version").out.startswith("holdfast 0.")
    told = call("--help").out
    assert "request-changes" in told
    assert sorted(GROUPS, key=lambda group: told.index(f" {group} ")) == list(GROUPS)
    assert " Commands " not in told, "each command stands in a group"


def test_the_program_runs_by_name_and_by_module(runs: str) -> None:
    by_name = [str(Path(sys.executable).with_name("holdfast")), "ps", "--json", "--store", runs]
    for words in (by_name, program("ps", "--json", store=runs)):
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_MAX)
        assert (done.returncode, done.stderr, done.stdout.count('"ticket":"INC-')) == (0, "", 3)


async def test_an_engine_goes_on_with_what_another_process_decided(engine: Engine, store: str) -> None:
    run = await started(engine, "lamp")
    code, out = await called("approve", "INC-0", "--about", HASH[:7], store=store)
    assert code == 0, out
    await run.reach("shipped", timeout_s=SECONDS_MAX)


async def test_pause_stops_the_handler_of_another_process(engine: Engine, store: str) -> None:
    await started(engine, "slow")
    code, out = await called("pause", "INC-0", store=store)
    assert code == 0, out
    async with asyncio.timeout(SECONDS_MAX):
        await SLOW_STOPPED.wait()
    assert (await engine.get("INC-0", user="ana")).status == "paused"


async def test_events_are_followed_until_they_are_not_wanted(engine: Engine, store: str) -> None:
    run = await started(engine, "lamp")
    follower = await asyncio.create_subprocess_exec(
        *program("events", "INC-0", "--follow", "--json", store=store), stdout=asyncio.subprocess.PIPE
    )
    assert follower.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        assert b'"to":"intake:check"' in await follower.stdout.readline()
        await (await run.refresh()).send("reject", by="ana")
        while b'"to":"dropped"' not in await follower.stdout.readline():
            pass
        follower.send_signal(signal.SIGINT)
        assert await follower.wait() == 130


async def test_doctor_sees_the_engine(engine: Engine, store: str) -> None:
    code, out = await called("doctor", "--json", store=store)
    assert code == 0, out
    assert f'"pid":{os.getpid()}' in out
    assert '"is_alive":true' in out


async def test_no_store_is_restored_below_an_engine_at_work(engine: Engine, store: str, tmp_path: Path) -> None:
    backup = str(tmp_path / "copy.db")
    assert (await called("backup", backup, store=store))[0] == 0
    code, out = await called("restore", backup, "--overwrite", store=store)
    assert (code, "stop it first" in out) == (1, True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 1), (InvalidTransition("x"), 1), (Conflict("x"), 1), (Fenced("x"), 1), (InvalidInput("x"), 2),
        (Unavailable("x"), 3), (Corrupt("x"), 4), (CommitUnknown("x"), 5),
    ],
)  # fmt: skip
def test_each_error_has_its_exit_code(error: HoldfastError, code: int) -> None:
    assert exit_code(error) == code


def test_exit_codes_are_told_on_the_page_and_by_help() -> None:
    page = PAGE.read_text("utf-8").replace("`", "")
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout
    for code, words in EXIT_CODES.items():
        assert f"| {code} | {words} |" in page
        assert words in told


class TestSettings:
    @pytest.fixture(autouse=True)
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_the_command_line_wins_then_the_environment_then_the_file(
        self, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert load_settings().store == "sqlite:///holdfast.db"
        (here / "holdfast.toml").write_text('store = "sqlite:///file.db"\ntenant = "acme"\napp = ["a:b", "c:d"]\n')
        assert load_settings().store == "sqlite:///file.db"
        monkeypatch.setenv("HOLDFAST_STORE", "sqlite:///environment.db")
        assert load_settings(store=None).store == "sqlite:///environment.db"
        assert load_settings(store="sqlite:///given.db").store == "sqlite:///given.db"
        assert (load_settings().tenant, load_settings().app) == ("acme", ("a:b", "c:d"))
        monkeypatch.setenv("HOLDFAST_APP", "e:f, g:h")
        assert load_settings().app == ("e:f", "g:h")

    @pytest.mark.parametrize(
        ("text", "message"),
        [("stor = 'x'\n", "setting stor"), ("store = 3\n", "setting store"), ("store =\n", "expected TOML")],
    )
    def test_a_bad_file_is_named_with_what_is_wrong(self, here: Path, text: str, message: str) -> None:
        (here / "holdfast.toml").write_text(text)
        with pytest.raises(InvalidInput, match=message) as caught:
            load_settings()
        assert "holdfast.toml" in str(caught.value)

    def test_a_url_under_a_wrong_name_keeps_its_secret(self, here: Path) -> None:
        (here / "holdfast.toml").write_text("stor = 'postgresql://ana:geheim@host/runs'\n")
        with pytest.raises(InvalidInput, match=r"setting stor.*ana:\*\*\*@host"):
            load_settings()


def test_a_soak_without_its_packages_says_what_to_install(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("holdfast.testing.soak")]:
        monkeypatch.delitem(sys.modules, name)
    answer = call("soak", "--minutes", "0.1")
    assert answer.code == 2
    assert "expected asyncpg to be installed for it" in " ".join(answer.err.split())
