"""Runs on real Celery workers, by a real broker: what crashes, losses and duplicates leave of them.

Two workers serve most tests: one of the pool prefork for all of them, and one of the pool solo that takes one run.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from amqp.exceptions import PreconditionFailed

from holdfast import Engine, InvalidInput, UnclaimedRun, WorkflowError
from holdfast.integrations.celery.routes import Route, check_routes, queue_for
from holdfast.store.contract.records import Scope
from holdfast.testing.servers import ValkeyServer
from tests.integrations.celery.programs.shop import orders
from tests.integrations.celery.stage import LIMIT_S, Stage

pytestmark = pytest.mark.slow

RABBITMQ = "HOLDFAST_TEST_RABBITMQ"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A broker and a store with one worker of two processes."""
    with ExitStack() as stack:
        broker = stack.enter_context(ValkeyServer())
        stage = Stage(tmp_path_factory.mktemp("celery"), broker.url, drain_s=1)
        stack.enter_context(stage.worker("-c", "2"))
        yield stage


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stage]:
    """A broker and a store for a worker that takes one run at a time, waits briefly for it when it ends, and leaves
    losses alone."""
    with ValkeyServer() as broker:
        yield Stage(tmp_path, broker.url, runs_max=1, drain_s=0.2, patience_s=600)


async def test_a_run_passes_through_workers_to_its_end(stage: Stage) -> None:
    async with stage.executor as engine:
        run = await engine.start("orders", "whole", id="whole", user="ana")
        await run.reach("packed", timeout_s=LIMIT_S)
        stage.open("whole")
        await run.send("ship", by="ana")
        assert run.status == "running"
        await run.result(timeout_s=LIMIT_S)
    assert run.state == "shipped"
    assert len(stage.lines("pack", "whole")) == 1
    (line,) = stage.lines("ship", "whole")
    assert line.pid != os.getpid()


async def test_a_timer_wakes_its_run_without_any_message_under_way(stage: Stage) -> None:
    async with stage.executor as engine:
        stage.open("timer")
        run = await engine.start("orders", "timer", user="ana")
        await run.result(timeout_s=LIMIT_S)
    assert len(stage.lines("ship", "timer")) == 1


async def test_a_message_that_is_delivered_three_times_is_one_execution(stage: Stage) -> None:
    async with stage.executor as engine:
        run = await engine.start("orders", "thrice", user="ana")
        await stage.until_lines("ship", "thrice")
        for _ in range(3):
            stage.deliver(run)
        await stage.until(lambda: stage.log.count(": 'owned'") >= 3, "three answers 'owned'")
        stage.open("thrice")
        await run.result(timeout_s=LIMIT_S)
        stage.deliver(run)
        await run.refresh()
    assert len(stage.lines("pack", "thrice")) == 1
    assert len(stage.lines("ship", "thrice")) == 1


async def test_a_run_whose_process_is_killed_goes_on_in_another(stage: Stage) -> None:
    async with stage.executor as engine:
        run = await engine.start("orders", "killed", user="ana")
        (line,) = await stage.until_lines("ship", "killed")
        os.kill(line.pid, signal.SIGKILL)
        first, second = await stage.until_lines("ship", "killed", 2)
        stage.open("killed")
        await run.result(timeout_s=LIMIT_S)
    assert first.pid != second.pid
    assert len(stage.lines("pack", "killed")) == 1
    assert len(stage.lines("ship", "killed")) == 2


async def test_a_run_of_which_no_message_was_ever_sent_is_worked_on(stage: Stage) -> None:
    """A door that knows nothing of Celery starts it: that is what a lost message looks like."""
    stage.open("silent")
    async with Engine(stage.store, orders(), works=False) as engine:
        run = await engine.start("orders", "silent", user="ana")
        await run.result(timeout_s=LIMIT_S)
    assert len(stage.lines("pack", "silent")) == 1


async def test_an_unknown_version_is_an_error_that_names_it(stage: Stage) -> None:
    async with Engine(stage.store, orders(version=2), works=False) as engine:
        run = await engine.start("orders", "newer", user="ana")
        stage.deliver(run)
        words = f"run {run.id}: this process does not know orders@2; it knows orders@1"
        await stage.until(lambda: words in stage.log, "word of the unknown version")
        await run.refresh()
        assert run.status == "running"
        await run.cancel()


async def test_a_killer_of_worker_processes_is_set_aside_after_three(stage: Stage) -> None:
    async with stage.executor as engine:
        run = await engine.start("orders", "killer", user="ana")
        with pytest.raises(WorkflowError, match="died 3 times without progress"):
            await run.result(timeout_s=LIMIT_S)
    assert len(stage.lines("ship", "killer")) == 3


async def test_a_broker_that_loses_all_and_goes_away_strands_nothing(tmp_path: Path) -> None:
    """First it is emptied before any worker came, then it dies under a connected one and comes back empty."""
    names = ("plain", "heavy", "before", "meanwhile", "after")
    with ValkeyServer() as broker:
        stage = Stage(tmp_path, broker.url)
        for name in names:
            stage.open(name)
        async with stage.executor as engine:
            runs = [await engine.start("orders", "plain", user="ana")]
            runs += [await engine.start("orders", "heavy", user="ana", labels={"needs": "gpu"})]
            await stage.until(lambda: [waiting(broker, name) for name in ("holdfast", "gpu")] == [1, 1], "two messages")
            broker.command("FLUSHALL")
            with stage.worker("-c", "1"):
                await stage.until_lines("ship", "heavy")
                runs += [await engine.start("orders", "before", user="ana")]
                await stage.until_lines("pack", "before")
                broker.kill()
                runs += [await engine.start("orders", "meanwhile", user="ana")]
                await stage.until(lambda: "Trying again" in stage.log, "worker without a broker")
                broker.start()
                runs += [await engine.start("orders", "after", user="ana")]
                for run in runs:
                    await run.result(timeout_s=LIMIT_S)
    assert [len(stage.lines("ship", name)) for name in names] == [1] * len(names)


async def test_postgresql_holds_the_runs_of_workers(tmp_path: Path, valkey_server: ValkeyServer, database: str) -> None:
    """With the pool prefork, whose process gives back in order what is at work when it ends."""
    stage = Stage(tmp_path, valkey_server.url, store=database, drain_s=0.2, patience_s=600)
    async with stage.executor as engine:
        with stage.worker("-c", "1"):
            run = await engine.start("orders", "whole", user="ana")
            await run.reach("packed", timeout_s=LIMIT_S)
            stage.open("whole")
            await run.send("ship", by="ana")
            await stage.until_lines("ship", "whole")
            stage.deliver(run)
            await run.result(timeout_s=LIMIT_S)
            left = await engine.start("orders", "left", user="ana")
            await stage.until_lines("ship", "left")
        (record,) = await engine.store.read(Scope.system(), [left.run.key])
    assert record is not None
    assert (record.status, record.owner) == ("running", "")
    assert len(stage.lines("pack", "whole")) == len(stage.lines("ship", "whole")) == 1


async def test_rabbitmq_keeps_the_messages_in_quorum_queues(tmp_path: Path) -> None:
    """A queue that exists with other arguments is refused, so that declaring it anew shows what it is."""
    broker = os.environ.get(RABBITMQ)
    if not broker:
        pytest.skip(f"no RabbitMQ: name one by its URL in {RABBITMQ}")
    stage = Stage(tmp_path, broker, drain_s=1)
    with stage.app.connection_for_write() as connection:
        for queue in stage.app.conf.task_queues:
            queue(connection.default_channel).delete()
    async with stage.executor as engine:
        with stage.worker("-c", "1"):
            run = await engine.start("orders", "thrice", user="ana")
            await stage.until_lines("ship", "thrice")
            for _ in range(3):
                stage.deliver(run)
            await stage.until(lambda: stage.log.count(": 'owned'") >= 3, "three answers 'owned'")
            stage.open("thrice")
            await run.result(timeout_s=LIMIT_S)
    with stage.app.connection_for_write() as connection:
        channel = connection.default_channel
        for name in ("holdfast", "gpu", "suspects"):
            channel.queue_declare(name, passive=True)
            with pytest.raises(PreconditionFailed, match="x-queue-type"):
                connection.channel().queue_declare(name, durable=True, auto_delete=False)
    assert len(stage.lines("pack", "thrice")) == len(stage.lines("ship", "thrice")) == 1


def waiting(broker: ValkeyServer, queue: str) -> int:
    """How many messages wait in a queue."""
    return int(broker.command("LLEN", queue).removeprefix(":"))


async def test_a_full_worker_leaves_messages_to_the_queue_and_an_ending_one_its_runs(small: Stage) -> None:
    """With the pool solo. The reaper is too patient here to help."""
    async with small.executor as engine:
        with small.worker("-P", "solo"):
            first = await engine.start("orders", "first", user="ana")
            await first.reach("packed", timeout_s=LIMIT_S)
            await first.send("ship", by="ana")
            await small.until_lines("ship", "first")
            second = await engine.start("orders", "second", user="ana")
            await small.until(lambda: "no place here" in small.log, "message that went back")
            assert small.lines("pack", "second") == []
            small.open("first")
            await first.result(timeout_s=LIMIT_S)
            await second.reach("packed", timeout_s=LIMIT_S)
            await second.send("ship", by="ana")
            await small.until_lines("ship", "second")
        await second.refresh()
        assert (second.status, second.state) == ("running", "shipping")
        small.open("second")
        with small.worker("-P", "solo"):
            await second.result(timeout_s=LIMIT_S)
        assert second.run.deaths == 0
    assert len(small.lines("ship", "second")) == 2


def test_the_first_route_that_takes_a_run_names_its_queue() -> None:
    run = UnclaimedRun(id="r", tenant="t", user="ana", workflow="train", version=1, labels={"region": "eu", "x": "y"})
    eu, gpu = Route(labels={"region": "eu"}), Route(workflow="train")
    assert queue_for(run, {"eu": eu, "gpu": gpu}, default="holdfast") == "eu"
    assert queue_for(run, {"gpu": gpu, "eu": eu}, default="holdfast") == "gpu"
    assert queue_for(run, {"us": Route(labels={"region": "us"})}, default="holdfast") == "holdfast"


def test_a_suspect_goes_to_its_own_queue_before_any_route() -> None:
    run = UnclaimedRun(id="r", tenant="t", user="ana", workflow="train", version=1, is_suspect=True)
    routes = {"gpu": Route(workflow="train")}
    assert queue_for(run, routes, default="holdfast") == "gpu"
    assert queue_for(run, routes, default="holdfast", suspects="suspects") == "suspects"
    for taken in ("gpu", "holdfast"):
        with pytest.raises(InvalidInput, match="a queue of their own"):
            check_routes(routes, default="holdfast", workflows=frozenset({"train"}), suspects=taken)
