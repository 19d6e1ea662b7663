"""A process that is killed: what it was told stays so, what it did not hear of may be there, and no start is twice."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast import ExecutionEngine, QuotaExceeded, UserQuota
from holdfast.users.stream import StreamEvent
from tests.users.conftest import DirectCore, context

ROOT = Path(__file__).resolve().parents[2]
STARTS, ANSWERED = 40, 15


def killed_in_the_middle(url: str) -> int:
    """Runs the worker until it has said so many, kills it; the last number that it said."""
    command = [sys.executable, "-m", "tests.users.worker", url, str(STARTS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    said = 0
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = int(line)
            if said == ANSWERED:
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:  # what it said before the signal came
            said = int(line)
    assert process.returncode == -signal.SIGKILL
    return said


@pytest.mark.slow
async def test_after_a_kill_every_answered_event_is_there_in_order_and_the_quota_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    said = await asyncio.to_thread(killed_in_the_middle, url)

    async def agent(ctx: object, value: int, tell: object) -> int:
        return value

    async with ExecutionEngine(url, DirectCore(), quota=UserQuota(starts=STARTS)) as engine:
        engine.registry.declare("agent", lambda ctx: agent)
        used = (await engine.usage.used(context("ana")))["starts"]
        assert said <= used <= said + 2, "each start that was answered is counted, and one more may be"
        left = 0
        with contextlib.suppress(QuotaExceeded):
            while left <= STARTS:
                await engine.run(context("ana"), "agent", 0)
                left += 1
        assert used + left == STARTS
        await engine.publish(context("ana"), "end")
        events: list[StreamEvent] = []
        async for event in engine.stream(context("ana"), after="0:0"):
            assert isinstance(event, StreamEvent), "no hole, so no snapshot"
            events.append(event)
            if event.name == "end":
                break
    assert [event.position.seq for event in events] == list(range(1, len(events) + 1))
    numbers = [event.data for event in events if event.name == "said"]
    assert numbers in (list(range(1, said + 1)), list(range(1, said + 2)))
