"""A process that is killed in the middle of its transactions leaves each of them whole, or none of it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from time import perf_counter

import pytest

from holdfast import StateManager, UserExecutionContext
from holdfast.store.open import open_store
from tests.state.children.transfers import ACCOUNTS, WRITERS

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
READY_S_MAX = 5.0
"""It takes a tenth of a second, and longer where other tests have both processors."""


async def killed(url: str, *, faults: str = "", after: int = 0) -> list[str]:
    """What the program says until it is killed: by a fault of its own, or once it acknowledged `after` transfers."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.state.children.transfers", url,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HOLDFAST_FAULTS": faults},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while line := await process.stdout.readline():
                said.append(line.decode().strip())
                if after and len(said) == after + 1:
                    process.kill()
            await process.wait()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == -9, said[-3:]
    return said


@pytest.mark.parametrize(
    ("faults", "after"),
    [
        ("store-before-commit:3:kill", 0),
        ("store-before-commit:17:kill", 0),
        ("store-after-commit:5:kill", 0),
        ("store-after-commit:23:kill", 0),
        ("", 30),
    ],
)
async def test_a_killed_process_leaves_whole_transactions(
    tmp_path: Path, ana: UserExecutionContext, faults: str, after: int
) -> None:
    await check_killed(f"sqlite:///{tmp_path / 'state.db'}", ana, faults, after)


@pytest.mark.parametrize(("faults", "after"), [("store-before-commit:9:kill", 0), ("", 20)])
async def test_a_killed_process_leaves_whole_transactions_on_postgres(
    database: str, ana: UserExecutionContext, faults: str, after: int
) -> None:
    await check_killed(database, ana, faults, after)


@pytest.mark.alone
async def test_the_next_process_goes_on_within_a_second(tmp_path: Path, ana: UserExecutionContext) -> None:
    await check_killed(f"sqlite:///{tmp_path / 'state.db'}", ana, faults="", after=30, ready_s_max=1.0)


async def check_killed(
    url: str, ana: UserExecutionContext, faults: str, after: int, *, ready_s_max: float = READY_S_MAX
) -> None:
    """Nothing that was acknowledged is lost, nothing is half done, and the next process goes on at once."""
    said = await killed(url, faults=faults, after=after)
    began = perf_counter()
    async with StateManager(url, sweep_every=None) as state:
        found = {each.path: each async for each in state.scan(ana)}
        assert perf_counter() - began < ready_s_max
        for number in range(WRITERS):
            own = [found.get(f"account/{each}") for each in range(ACCOUNTS)]
            mine = [each for each in own[number * 10 : number * 10 + 10] if each is not None]
            if not mine:
                continue  # it was killed before there was anything
            turns = {abs(each.value - 100) for each in mine}
            assert len(turns) == 1, "half of a transaction"
            assert sum(each.value for each in mine) == 1000
            acknowledged = [int(line.split()[2]) for line in said if line.startswith(f"done {number} ")]
            book = [each.value for path, each in found.items() if path.startswith(f"book/{number}/")]
            assert turns == {max(book, default=-1) + 1}, "money and book are of one transaction"
            assert max(acknowledged, default=-1) <= max(book, default=-1), "what was acknowledged is there"
        count = sum(line.startswith("done") for line in said)
        total = found["total"].value if "total" in found else 0
        assert count <= total <= count + WRITERS
        await state.update(ana, "total", lambda value: value + 1, initial=0)
    store = open_store(url)
    try:
        assert (await store.verify()).is_clean
    finally:
        await store.close()
