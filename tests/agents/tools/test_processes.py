"""Tools in processes of their own: what hangs, grows, dies or leaves children is found, named and gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast import ErrorType, Tool, ToolDispatcher, ToolFailed, UserExecutionContext, open_store
from tests.agents.tools import shed
from tests.agents.tools.shed import Ticket

ANA = UserExecutionContext(user="ana")
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def tools() -> AsyncIterator[ToolDispatcher]:
    store = open_store("memory://")
    dispatcher = ToolDispatcher([each for each in vars(shed).values() if isinstance(each, Tool)], store=store)
    yield dispatcher
    await dispatcher.close()
    await store.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs under `pid`; one that ended and waits to be seen off does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(is_alive(pid) for pid in pids):  # noqa: ASYNC110 - the system tells nobody of orphans
            await asyncio.sleep(0.01)


async def written(path: Path) -> list[int]:
    """The numbers of processes that one of them wrote to `path`."""
    async with asyncio.timeout(30):
        while not (path.exists() and path.read_text()):  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    return [int(pid) for pid in path.read_text().split()]


async def test_values_cross_by_their_types(tools: ToolDispatcher) -> None:
    at = datetime(2026, 11, 27, 9, tzinfo=UTC)
    assert await tools.call(ANA, "later", {"at": at}) == at.replace(hour=10)
    assert await tools.call(ANA, "shout", {"tickets": [Ticket(1, "disk")]}) == [Ticket(1, "DISK")]


async def test_one_that_never_returns_is_killed(tools: ToolDispatcher) -> None:
    with pytest.raises(ToolFailed, match=r"never_returns: took longer than 0.5 s and was killed") as caught:
        await tools.call(ANA, "never_returns")
    assert caught.value.error_type is ErrorType.TIMEOUT


async def test_what_it_left_running_neither_delays_the_answer_nor_lives_on(
    tools: ToolDispatcher, tmp_path: Path
) -> None:
    async with asyncio.timeout(20):
        pid = await tools.call(ANA, "answers_and_leaves_a_child", {"pids": str(tmp_path / "pids")})
    await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the bound on memory is Linux's")
async def test_one_that_allocates_without_end_is_told_so(tools: ToolDispatcher) -> None:
    with pytest.raises(ToolFailed, match="used more than its 128 MiB of memory") as caught:
        await tools.call(ANA, "allocates_without_end")
    assert caught.value.error_type is ErrorType.RESOURCE


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("says_too_much", "at most 1000 bytes of output, saw 1000"),
        ("dies", r"ended \(3\) without an answer; it said last: last words"),
        ("raises", r"raised LookupError: no such thing \[31m x+…"),
        ("gives_the_wrong_thing", "output of tool gives_the_wrong_thing"),
    ],
)
async def test_how_it_failed_is_told(tools: ToolDispatcher, name: str, why: str) -> None:
    with pytest.raises(ToolFailed, match=why) as caught:
        await tools.call(ANA, name)
    assert len(caught.value.message) < 700


async def test_it_sees_only_the_environment_that_it_names(
    tools: ToolDispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_TEST_SECRET", "hunter2")
    monkeypatch.setenv("HOLDFAST_TEST_ALLOWED", "yes")
    assert await tools.call(ANA, "sees", {"name": "HOLDFAST_TEST_SECRET"}) is None
    assert await tools.call(ANA, "sees", {"name": "HOLDFAST_TEST_ALLOWED"}) == "yes"


async def test_a_cancelled_caller_leaves_no_process(tools: ToolDispatcher, tmp_path: Path) -> None:
    path = tmp_path / "pids"
    caller = asyncio.ensure_future(tools.call(ANA, "leaves_children", {"pids": str(path)}))
    pids = await written(path)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await gone(*pids)


async def test_it_dies_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    program = f"""
import asyncio
from holdfast import ToolDispatcher, UserExecutionContext, open_store
from tests.agents.tools.shed import leaves_children

async def main():
    tools = ToolDispatcher([leaves_children], store=open_store("memory://"))
    await tools.call(UserExecutionContext(user="ana"), "leaves_children", {{"pids": {str(path)!r}}})

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=ROOT)
    pids = await written(path)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await gone(*pids)
