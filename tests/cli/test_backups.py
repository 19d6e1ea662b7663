"""backup and restore: by hand and by a schedule, in earnest and on trial."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.documents.keeping import BackupLine
from holdfast.cli.procedures.backup_schedule import Schedule
from holdfast.cli.procedures.drill import drill
from holdfast.errors import HoldfastError, Rejected, Unavailable
from holdfast.store.contract.protocol import OpenStore
from holdfast.store.contract.records import Change, Key, Put, Query, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.open import open_store
from holdfast.store.upkeep.backups import last_backup
from holdfast.testing import VirtualClock
from holdfast.workflow.model.run import RUN
from tests.cli.conftest import CODE, Call
from tests.cli.shop import HASH, fill
from tests.cli.test_keeping import damage
from tests.cli.test_program import SECONDS_MAX, program
from tests.engine.crash.processes import until

SYSTEM = Scope.system()


@pytest.fixture(autouse=True)
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """Where drills restore to; nothing is left there."""
    place = tmp_path / "trials"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    yield place
    assert list(place.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "backups"
    place.mkdir()
    return place


def check_of(call: Call, name: str, *words: str) -> Any:
    """One check of `doctor`."""
    (found,) = call("doctor", "--json", *words).documents
    return {check["name"]: check for check in found["checks"]}[name]


# -- by hand --------------------------------------------------------------------------------------------------------


def test_doctor_tells_of_the_last_good_backup(call: Call, runs: str, folder: Path) -> None:
    assert (check_of(call, "backup")["status"], check_of(call, "backup")["seen"]) == (
        "degraded", "none of this store is known",
    )  # fmt: skip
    assert call("backup", str(folder)).code == 0
    (place,) = folder.iterdir()
    check = check_of(call, "backup")
    assert (check["status"], str(place) in check["seen"], "drilled" in check["seen"]) == ("green", True, False)
    assert call("backup", "copy.db", "--drill").code == 0
    assert "drilled" in check_of(call, "backup")["seen"]
    damage(runs)
    assert call("backup", "another.db").code == 4
    assert "copy.db" in check_of_damaged(runs)


def check_of_damaged(url: str) -> str:
    """Where the last good backup of a store is that `doctor` cannot read as a whole."""

    async def look() -> str:
        store = open_store(url)
        try:
            return (await last_backup(store)).place
        finally:
            await store.close()

    return asyncio.run(look())


def test_a_read_only_store_is_backed_up_without_a_note(call: Call, runs: str) -> None:
    answer = call("backup", "copy.db", "--store", f"{runs}?mode=ro")
    assert (answer.code, "doctor will not know of it" in answer.err) == (0, True)
    assert Path("copy.db").exists()


def test_only_the_newest_are_kept(call: Call, runs: str, folder: Path) -> None:
    for name in ("holdfast-20250101-000000.backup", "holdfast-20250102-000000.backup", "notes.txt"):
        (folder / name).touch()
    answer = call("backup", str(folder), "--keep", "2")
    assert (answer.code, "deleted: holdfast-20250101-000000.backup" in answer.err) == (0, True)
    assert len(list(folder.iterdir())) == 3
    assert (folder / "notes.txt").exists()


def test_a_backup_that_fails_deletes_nothing(call: Call, runs: str, folder: Path) -> None:
    (folder / "holdfast-20250101-000000.backup").touch()
    (folder / "holdfast-20250102-000000.backup").touch()
    damage(runs)
    assert call("backup", str(folder), "--keep", "1").code == 4
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["backup", "copy.db", "--every", "1h"], 2, "expected a folder for dated backups"),
        (["backup", "copy.db", "--keep", "3"], 2, "expected a folder for dated backups"),
        (["backup", "backups", "--every", "soon"], 2, "duration: expected a form like"),
        (["backup", "backups", "--every", "10ms"], 2, "--every: expected at least 1 s"),
        (["backup", "backups", "--keep", "0"], 2, "--keep"),
        (["restore", "backups"], 1, "expected a dated backup in"),
        (["restore", "backups", "--drill"], 1, "expected a dated backup in"),
        (["restore", "copy.db", "--drill", "--overwrite"], 2, "saw both"),
        (["restore", "copy.db", "--against"], 2, "saw it alone"),
        (["restore", "copy.db", "--drill", "--against", "--store", "sqlite:///nowhere.db"], 3, "say where it is"),
    ],
)
def test_what_makes_no_sense_is_refused(
    call: Call, runs: str, folder: Path, words: list[str], code: int, message: str
) -> None:
    Path("copy.db").touch()
    answer = call(*words)
    assert (answer.code, message in answer.err) == (code, True), answer.err


# -- the drill ------------------------------------------------------------------------------------------------------


def test_a_drill_says_what_would_come_back(call: Call, runs: str, folder: Path) -> None:
    for _ in range(2):
        assert call("backup", str(folder)).code == 0
    before = call("ps", "--all", "--json").documents
    (done,) = call("restore", str(folder), "--drill", "--json", "--store", "sqlite:///not-needed.db").documents
    assert Path(done["source"]) == max(folder.iterdir())
    assert (done["is_good"], done["problems"], done["unknown_charts"]) == (True, [], 0)
    assert done["runs"] == {"failed": 1, "waiting": 2}
    assert done["states"] == {"shop@1 intake:check": 2, "shop@1 review:awaiting": 1}
    assert 0 <= done["age_s"] < SECONDS_MAX
    assert 0 < done["restore_s"] <= done["took_s"]
    assert done["against"] is None
    drawn = call("restore", str(folder), "--drill")
    assert (drawn.code, "it can be restored" in drawn.out, "review:awaiting" in drawn.out) == (0, True, True)
    assert call("ps", "--all", "--json").documents == before
    assert not Path("not-needed.db").exists()


def test_a_drill_against_the_store_says_what_would_be_lost(call: Call, runs: str) -> None:
    assert call("backup", "copy.db").code == 0
    (before,) = call("restore", "copy.db", "--drill", "--against", "--json").documents
    assert before["against"] == {"store": runs.removeprefix("sqlite:///"), "keys": 0, "events": 0, "newest_at": None}
    assert call("approve", "INC-0", "--about", HASH[:7], *CODE).code == 0
    (after,) = call("restore", "copy.db", "--drill", "--against", "--json").documents
    assert after["is_good"]
    assert after["against"]["keys"] >= 1
    assert after["against"]["events"] == 2, "review left, and checking entered and left at once"
    assert after["against"]["newest_at"] is not None
    assert "would be lost" in call("restore", "copy.db", "--drill", "--against").out


def test_a_drill_of_a_damaged_backup_says_so(call: Call, runs: str) -> None:
    assert call("backup", "copy.db").code == 0
    damage("sqlite:///copy.db")
    answer = call("restore", "copy.db", "--drill")
    assert (answer.code, "expected a sound backup" in answer.err) == (4, True)


async def put_run(store: OpenStore, change: Any) -> None:
    """Change the body of a run as nobody should: sound by its digest, and wrong."""
    (record,) = (await store.scan(SYSTEM, Query(kind=RUN, labels={"ticket": "INC-0"}))).records
    body = json.loads(record.body)
    change(body)
    put = Put(
        key=record.key,
        body=json.dumps(body).encode(),
        expect=record.version,
        status=record.status,
        due=record.due,
        queue=record.queue,
        labels=record.labels,
    )
    await store.commit(SYSTEM, Change(change_id="wrong", writes=(put,)))


def in_no_state(body: Any) -> None:
    body["configuration"]["leaves"] = ["review.nowhere"]


def somebody_else(body: Any) -> None:
    body["user"] = "eve"


def no_run(body: Any) -> None:
    del body["leaves"]


def of_an_unknown_chart(body: Any) -> None:
    body["configuration"]["chart_hash"] = "0" * 64


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (in_no_state, "'review.nowhere' is not a state of the chart"),
        (somebody_else, "expected itself in its body"),
        (no_run, "expected the stored form of a run"),
    ],
)
async def test_a_run_that_could_not_go_on_is_named(
    store: str, tmp_path: Path, change: Any, problem: str, folder: Path
) -> None:
    """Every digest is right, and still no engine could do anything with it."""
    await fill(store, "lamp", "flaky")
    opened = open_store(store)
    await put_run(opened, change)
    place = folder / "copy.db"
    await opened.backup(place)
    done = await drill(place, now_s=opened.now_s())
    await opened.close()
    assert not done.is_good
    assert (done.problem_count, problem in done.problems[0]) == (1, True)


async def test_a_run_of_an_unknown_chart_is_counted(store: str, folder: Path) -> None:
    await fill(store, "lamp", "flaky")
    opened = open_store(store)
    await put_run(opened, of_an_unknown_chart)
    await opened.backup(folder / "copy.db")
    done = await drill(folder / "copy.db", now_s=opened.now_s())
    await opened.close()
    assert (done.is_good, done.unknown_charts) == (True, 1)


# -- the schedule ---------------------------------------------------------------------------------------------------


class Kept:
    """A store in memory that a schedule opens again and again; `trouble` keeps it from opening."""

    def __init__(self, clock: VirtualClock) -> None:
        self.store = MemoryStore(clock=clock)
        self.trouble: HoldfastError | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenStore]:
        if self.trouble is not None:
            raise self.trouble
        yield self.store


class Watched:
    """A schedule under a virtual clock."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.clock = VirtualClock()
        self.kept = Kept(self.clock)
        self.lines: list[BackupLine] = []
        self.stop = asyncio.Event()
        self._said = asyncio.Event()
        wanted = {"every_s": 3600.0, "keep": None, "is_drilled": False} | options
        self.schedule = Schedule(folder, opened=self.kept.opened, clock=self.clock, tell=self._tell, **wanted)

    def _tell(self, line: BackupLine) -> None:
        self.lines.append(line)
        self._said.set()

    async def until_line(self, count: int) -> BackupLine:
        async with asyncio.timeout(SECONDS_MAX):
            while len(self.lines) < count:
                self._said.clear()
                await self._said.wait()
        return self.lines[-1]

    async def skip(self, seconds: float) -> None:
        """Let time pass in small steps, waiting for whatever becomes due."""
        target = self.clock.time_s() + seconds
        while self.clock.time_s() < target:
            await self.until_resting()
            assert self.clock.next_due_s is not None
            self.clock.advance_to(min(target, self.clock.next_due_s))

    async def until_resting(self) -> None:
        """Until nothing happens before time passes."""
        await until(lambda: self.clock.next_due_s is not None, "rest")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.ensure_future(self.schedule.run(self.stop))
        try:
            yield
        finally:
            self.stop.set()
            self.ended = await task


def dated(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".backup"))


async def test_backups_come_on_the_hour_and_old_ones_go(folder: Path) -> None:
    watched = Watched(folder, keep=2)
    async with watched.running():
        for hour in range(4):
            line = await watched.until_line(hour + 1)
            assert (line.is_good, line.error, line.is_noted) == (True, "", True)
            await watched.skip(3600)
        await watched.until_line(5)
    assert [line.at[11:19] for line in watched.lines] == [f"0{hour}:00:00" for hour in range(5)]
    assert [len(line.deleted) for line in watched.lines] == [0, 0, 1, 1, 1]
    assert dated(folder) == ["holdfast-20260101-030000.backup", "holdfast-20260101-040000.backup"]
    assert watched.ended is None
    last = await last_backup(watched.kept.store)
    assert (last.at, last.every_s) == (watched.clock.time_s(), 3600.0)
    assert [path.name for path in folder.iterdir() if path.name not in dated(folder)] == []


async def test_a_machine_that_slept_takes_one_and_goes_on_by_the_grid(folder: Path) -> None:
    watched = Watched(folder)
    async with watched.running():
        await watched.until_line(1)
        await watched.until_resting()
        watched.clock.advance_to(watched.clock.time_s() + 5.5 * 3600)
        line = await watched.until_line(2)
    assert (line.at[11:19], line.next_at[11:19]) == ("05:30:00", "06:00:00")


async def test_a_schedule_goes_on_where_the_last_one_was(folder: Path) -> None:
    (folder / "holdfast-20251231-233000.backup").touch()
    watched = Watched(folder)
    async with watched.running():
        await watched.skip(29 * 60)
        assert watched.lines == []
        await watched.skip(120)
        assert (await watched.until_line(1)).at[11:19] == "00:30:00"


async def test_a_failure_is_told_and_noted_and_tried_again(folder: Path) -> None:
    watched = Watched(folder, keep=1)
    (folder / "holdfast-20250101-000000.backup").touch()
    watched.kept.trouble = Unavailable("the server is away")
    async with watched.running():
        line = await watched.until_line(1)
        assert (line.is_good, line.error, line.is_noted, line.deleted) == (False, "the server is away", False, ())
        watched.kept.trouble = None
        (folder / "holdfast-20260101-000600.backup").mkdir()  # nothing can be written under this name
        await watched.skip(360)
        line = await watched.until_line(2)
        assert (line.is_good, line.is_noted) == (False, True)
        last = await last_backup(watched.kept.store)
        assert (last.failure, last.at, last.every_s) == (line.error, None, 3600.0)
        (folder / "holdfast-20260101-000600.backup").rmdir()
        assert dated(folder) == ["holdfast-20250101-000000.backup"], "the last good one stays"
        await watched.skip(360)
        line = await watched.until_line(3)
        assert (line.is_good, line.deleted) == (True, ("holdfast-20250101-000000.backup",))
        assert (await last_backup(watched.kept.store)).failure == ""
    assert watched.ended is None


async def test_a_schedule_ends_with_what_its_last_try_met(folder: Path) -> None:
    watched = Watched(folder)
    watched.kept.trouble = Unavailable("the server is away")
    async with watched.running():
        await watched.until_line(1)
    assert watched.ended is watched.kept.trouble


async def test_a_backup_whose_drill_fails_counts_as_none(folder: Path) -> None:
    watched = Watched(folder, keep=1, is_drilled=True)
    async with watched.running():
        good = await watched.until_line(1)
        assert good.drill is not None
        assert good.drill.is_good
        put = Put(key=Key("main", "ana", RUN, "r"), body=b"{}", expect=0)
        await watched.kept.store.commit(SYSTEM, Change(change_id="wrong", writes=(put,)))
        for count in (2, 3):
            await watched.skip(360 if count == 3 else 3600)
            line = await watched.until_line(count)
            assert (line.is_good, "its drill found 1 problems" in line.error) == (False, True)
    assert dated(folder) == [Path(good.place).name], "the good one stays, and is the newest"
    assert [path.name for path in folder.iterdir() if path.suffix == ".failed"] == [f"{Path(line.place).name}.failed"]


async def test_what_a_killed_schedule_left_is_cleared_up(folder: Path) -> None:
    for left in (".partial", ".partial-journal", ".trial", ".trial.partial"):
        (folder / f"holdfast-20250101-000000.backup{left}").touch()
    (folder / "holdfast-20250101-000000.backup.failed").touch()
    watched = Watched(folder)
    async with watched.running():
        await watched.until_line(1)
    left = [path.name for path in folder.iterdir()]
    assert sorted(left) == ["holdfast-20250101-000000.backup.failed", "holdfast-20260101-000000.backup"]


async def test_two_schedules_do_not_share_a_folder(folder: Path) -> None:
    one, two = Watched(folder), Watched(folder)
    async with one.running():
        await one.until_line(1)
        with pytest.raises(Rejected, match="give each its own folder"):
            await two.schedule.run(two.stop)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_schedule_runs_until_a_signal_and_ends_in_order(
    store: str, folder: Path, trials: Path, number: signal.Signals
) -> None:
    await fill(store, "lamp")
    process = await asyncio.create_subprocess_exec(
        *program("backup", str(folder), "--every", "1s", "--keep", "2", "--drill", "--json", store=store),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(trials)},
    )
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS_MAX):
        lines = [json.loads(await process.stdout.readline()) for _ in range(3)]
        process.send_signal(number)
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert [line["is_good"] and line["drill"]["is_good"] for line in lines] == [True] * 3
    assert 1 <= len(dated(folder)) <= 2
    assert dated(folder) == sorted(path.name for path in folder.iterdir())


def test_a_schedule_that_is_over_is_missed_until_it_is_ended(call: Call, runs: str, folder: Path) -> None:
    async def note_an_old_one() -> None:
        store = open_store(runs)
        last = Key("", "", "backup", "last")
        body = json.dumps({"at": store.now_s() - 7200, "place": "here:/b", "every_s": 3600.0}).encode()
        await store.commit(SYSTEM, Change(change_id="old", writes=(Put(key=last, body=body, expect=None),)))
        await store.close()

    asyncio.run(note_an_old_one())
    check = check_of(call, "backup")
    assert (check["status"], "older than its schedule" in check["seen"]) == ("red", True)
    assert call("backup", "copy.db").code == 0
    assert "every 1h" in check_of(call, "backup")["seen"], "one by hand does not end a schedule"
    assert call("backup", "copy.db", "--every", "never").code == 0
    assert "every" not in check_of(call, "backup")["seen"]
