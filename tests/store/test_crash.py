"""Real processes, killed, stopped and starved in the middle of their commits."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.errors import Unavailable
from holdfast.store.contract.records import Key, Query, Scope
from holdfast.store.sqlite.store import SqliteStore
from holdfast.testing.conformance.samples import ANA, SYSTEM, change, put

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


@asynccontextmanager
async def child(
    file: Path, name: str, *numbers: int, faults: str = "", limits: Callable[[], None] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program `children/writers.py`, killed at the end if it has not ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store.children.writers",
        str(file),
        name,
        *map(str, numbers),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HOLDFAST_FAULTS": faults},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=limits,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # reads to the end, so that no pipe stays open


async def lines(process: asyncio.subprocess.Process, *, most: int = 1_000_000) -> list[str]:
    """What the program says, until it ends or has said `most` lines."""
    assert process.stdout is not None
    said: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(said) < most and (line := await process.stdout.readline()):
            said.append(line.decode().strip())
    return said


def acknowledged(said: list[str]) -> dict[str, int]:
    """The last version that each run was told to have reached."""
    reached: dict[str, int] = {}
    for line in said:
        match line.split():
            case ["done", name, version]:
                reached[name] = int(version)
    return reached


async def check_nothing_is_missing(file: Path, reached: dict[str, int]) -> None:
    """Every acknowledged transition is there, the record is its last journal row, and all digests are right."""
    store = SqliteStore(file)
    try:
        for name, version in reached.items():
            key = Key("acme", name, "run", f"run-{name}")
            (record,) = await store.read(SYSTEM, [key])
            rows = await store.events(SYSTEM, record=key, limit=10_000)
            assert record is not None
            assert version <= record.version <= version + 1, "at most the one that was not acknowledged is beyond it"
            assert [row.version for row in rows] == list(range(1, record.version + 1))
            assert rows[-1].digest == record.chain
        found = await store.verify()
        assert found.is_clean, found.problems
        assert found.records >= len(reached)
    finally:
        await store.close()


@pytest.mark.parametrize("point", ["store-before-commit", "store-after-commit"])
async def test_kill_at_a_commit_loses_nothing_acknowledged(tmp_path: Path, point: str) -> None:
    """SIGKILL at the commit itself, with 64 runs in the batch."""
    async with child(tmp_path / "store.db", "w", 64, faults=f"{point}:40:kill") as process:
        said = await lines(process)
        assert await process.wait() == -signal.SIGKILL
    reached = acknowledged(said)
    assert len(reached) == 64
    await check_nothing_is_missing(tmp_path / "store.db", reached)


@pytest.mark.slow
@pytest.mark.parametrize("after", [100, 777, 2500])
async def test_kill_at_any_time_loses_nothing_acknowledged(tmp_path: Path, after: int) -> None:
    """SIGKILL from outside, wherever the 64 busy writers are just then."""
    async with child(tmp_path / "store.db", "w", 64) as process:
        said = await lines(process, most=after)
        process.kill()
        said += await lines(process)
    await check_nothing_is_missing(tmp_path / "store.db", acknowledged(said))


async def test_full_file_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the file's size (RLIMIT_FSIZE) in the place of a full disk; afterwards the same file goes on."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    async with child(tmp_path / "store.db", "w", 16, limits=limits) as process:
        said = await lines(process)
        assert await process.wait() == 0
    errors = Counter(line.split()[1] for line in said if line.startswith("error"))
    assert errors == {"Unavailable": 16}
    assert next(line for line in said if line.startswith("ailment")) != "ailment None"
    await check_nothing_is_missing(tmp_path / "store.db", acknowledged(said))
    store = SqliteStore(tmp_path / "store.db")
    await store.commit(ANA, change(put("a")))
    assert store.ailment() is None
    await store.close()


async def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Both commit, neither starves, and each notices what the other does."""
    file = tmp_path / "store.db"
    async with child(file, "x", 8) as one, child(file, "y", 8) as two:
        said = await asyncio.gather(lines(one, most=500), lines(two, most=500))
        one.kill()
        two.kill()
        rest = await asyncio.gather(lines(one), lines(two))
    for before, after in zip(said, rest, strict=True):
        reached = acknowledged(before + after)
        assert len(reached) == 8
        await check_nothing_is_missing(file, reached)


async def test_stopped_writer_is_named_and_the_others_go_on_after_it(tmp_path: Path) -> None:
    """SIGSTOP inside a commit: peers are refused with the stopped process's name, reads work, nothing is lost."""
    file = tmp_path / "store.db"
    async with child(file, "stopped", 1, 5) as process:
        said = await lines(process, most=5)
        assert acknowledged(said) == {"stopped0": 4}
        await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        store = SqliteStore(file, turn_timeout_s=1.5)
        try:
            with pytest.raises(Unavailable, match=rf"held by process {process.pid} \(stopped\)"):
                await store.commit(ANA, change(put("a")))
            with pytest.raises(Unavailable, match="stopped"):
                await store.commit(ANA, change(put("b")))
            assert "stopped" in (store.ailment() or "")
            assert len((await store.scan(SYSTEM, Query(kind="run"))).records) == 1
            process.send_signal(signal.SIGCONT)
            await lines(process, most=5)
            await store.commit(ANA, change(put("a")))
            assert store.ailment() is None
        finally:
            await store.close()


async def test_wait_hears_of_another_process(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    store = SqliteStore(file)
    since = await store.wait(0)
    async with child(file, "peer", 1), asyncio.timeout(PATIENCE_S):
        while not (await store.scan(Scope.system(), Query(kind="run"))).records:
            since = await store.wait(since)
    await store.close()
