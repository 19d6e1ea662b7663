"""The loop of a worker process ends with an error that nobody foresaw: the next message finds another one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from celery.exceptions import Reject

from holdfast import Engine, InvalidInput, NotFound, Workflow
from holdfast.integrations.aes_gcm import AesGcm
from holdfast.integrations.celery import CeleryExecutor
from holdfast.integrations.celery.worker import WorkerLoop
from tests.integrations.celery.programs.shop import orders


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[CeleryExecutor]:
    """As in a worker process, with a loop that cannot begin."""
    app = Celery("loop", broker="memory://", set_as_current=False)
    executor = CeleryExecutor(app, f"sqlite:///{tmp_path}/shop.db", orders(), wait_max_s=0.2, drain_s=0.0)
    loop = WorkerLoop(broken, executor._publisher, reaper=executor._reaper, **executor._worker_options)
    executor._worker = os.getpid(), loop
    yield executor
    executor._process_ends()


def broken() -> Engine:
    raise RuntimeError("nobody foresaw this")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_ended_is_followed_by_another(executor: CeleryExecutor) -> None:
    assert executor._worker is not None
    first = executor._worker[1]
    with pytest.raises(Reject, match="no place here"):  # it has not begun: the message goes back
        executor._task("no such run", "ana", "default")
    first.start()
    first._thread.join()
    assert first.has_ended
    with pytest.raises(NotFound):
        executor._task("no such run", "ana", "default")
    assert executor._worker[1] is not first


def test_the_options_of_the_worker_are_checked_where_the_executor_is_made(tmp_path: Path) -> None:
    app = Celery("loop", broker="memory://", set_as_current=False)
    with pytest.raises(InvalidInput, match="runs_max"):
        CeleryExecutor(app, f"sqlite:///{tmp_path}/shop.db", orders(), runs_max=0)


async def test_a_codec_is_the_doors_and_the_workers(tmp_path: Path) -> None:
    waiting = Workflow("letter", data=dict)
    waiting.wait("review", start=True, on={"send": "sent"})
    waiting.final("sent")
    codec = AesGcm({"k": bytes(32)}, current="k")
    app = Celery("sealed", broker="memory://", set_as_current=False)
    async with CeleryExecutor(app, f"sqlite:///{tmp_path}/shop.db", waiting, codec=codec) as door:
        run = await door.start("letter", {"text": "canary-5f1d"}, user="ana")
        async with door._make_worker() as worker:
            assert await worker.take_up(run.id, user="ana") == "idle"
    assert b"canary-5f1d" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
