"""The one writer of a process behind a socket: batches, fairness to the poisoned, loops that come and go."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence

import pytest

from holdfast.errors import CommitUnknown, Conflict, InvalidInput, Unavailable
from holdfast.store.contract.records import Change, Commit, Key, Put
from holdfast.store.writing.committer import HALF_LEAST, Batch, Committer, Outcome, Poison

SENDER = ("acme", "ana")


def change(name: str) -> Change:
    return Change(change_id=name, writes=(Put(key=Key("acme", "ana", "run", name), body=b"{}", expect=None),))


def commit_of(change: Change) -> Commit:
    return Commit(change_id=change.change_id, at=1.0, versions=(1,))


class Server:
    """What a committer writes to. While it is `closed`, a batch waits; `poison` names changes that cannot be stored."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.poison: set[str] = set()
        self.refuses: Exception | None = None
        self.gates: list[asyncio.Event] = []
        self.news = 0
        self.committer = Committer(self.write, place="test", on_committed=self.committed)

    def committed(self) -> None:
        self.news += 1

    async def write(self, batch: Batch) -> Sequence[Outcome]:
        names = [entry.change.change_id for entry in batch]
        if self.gates:
            await self.gates[0].wait()
        else:
            await asyncio.sleep(0)
        if self.refuses is not None:
            raise self.refuses
        if self.poison.intersection(names):
            raise Poison(InvalidInput("poison"))
        self.batches.append(names)
        self.loops.append(asyncio.get_running_loop())
        return [
            Conflict("stale") if name.startswith("stale") else commit_of(entry.change)
            for name, entry in zip(names, batch, strict=True)
        ]

    async def commit(self, name: str) -> Commit:
        return await self.committer.commit(SENDER, change(name), 2)


async def test_whatever_queues_up_while_one_batch_is_written_is_the_next() -> None:
    server = Server()
    server.gates = [asyncio.Event()]
    async with asyncio.TaskGroup() as group:
        first = group.create_task(server.commit("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [group.create_task(server.commit(f"b{number}")) for number in range(5)]
        await asyncio.sleep(0)
        server.gates.pop().set()
    assert first.result().change_id == "a"
    assert [task.result().change_id for task in rest] == [f"b{number}" for number in range(5)]
    assert server.batches == [["a"], [f"b{number}" for number in range(5)]]
    assert server.news == 2


async def test_a_crowd_goes_in_two_halves_that_take_turns() -> None:
    server = Server()
    crowd = 4 * HALF_LEAST

    async def sender(number: int) -> None:
        for turn in range(5):
            await server.commit(f"{number}-{turn}")

    await asyncio.gather(*(sender(number) for number in range(crowd)))
    sizes = list(map(len, server.batches))
    assert sum(sizes) == 5 * crowd
    assert set(sizes[1:-1]) == {crowd // 2}


async def test_who_loses_loses_alone() -> None:
    server = Server()
    results = await asyncio.gather(*(server.commit(name) for name in ("a", "stale", "b")), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Commit", "Conflict", "Commit"]


async def test_what_cannot_be_stored_hurts_its_sender_alone() -> None:
    server = Server()
    server.poison = {"n5", "n11"}
    results = await asyncio.gather(*(server.commit(f"n{number}") for number in range(16)), return_exceptions=True)
    failed = [number for number, result in enumerate(results) if isinstance(result, BaseException)]
    assert failed == [5, 11]
    assert isinstance(results[5], InvalidInput)
    assert server.committer.ailment() is None


async def test_a_server_that_is_away_fails_everybody_and_is_an_ailment_until_it_is_back() -> None:
    server = Server()
    server.refuses = Unavailable("away")
    results = await asyncio.gather(*(server.commit(name) for name in "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]
    assert results[0] is not results[1]
    assert server.committer.ailment() == "away"
    server.refuses = None
    await server.commit("c")
    assert server.committer.ailment() is None


async def test_what_nobody_expects_fails_everybody_who_waits_and_not_the_next() -> None:
    server = Server()
    server.refuses = RuntimeError("a bug")
    results = await asyncio.gather(*(server.commit(name) for name in "ab"), return_exceptions=True)
    assert [type(result) for result in results] == [CommitUnknown, CommitUnknown]
    assert "a bug" in (server.committer.ailment() or "")
    server.refuses = None
    assert (await server.commit("c")).change_id == "c"


async def test_closing_writes_what_is_queued_and_takes_nothing_more() -> None:
    server = Server()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(server.commit(name)) for name in "abc"]
        await asyncio.sleep(0)
        await server.committer.close()
    assert [task.result().change_id for task in tasks] == ["a", "b", "c"]
    with pytest.raises(Unavailable, match="closed"):
        await server.commit("d")


async def test_a_close_that_is_cut_off_waits_for_what_is_being_written_and_refuses_the_rest() -> None:
    server = Server()
    server.gates = [asyncio.Event()]
    waiting = [asyncio.ensure_future(server.commit("under way"))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting += [asyncio.ensure_future(server.commit(f"queued {number}")) for number in range(3)]
    closing = asyncio.ensure_future(server.committer.close())
    await asyncio.sleep(0)
    closing.cancel()
    refused = await asyncio.gather(*waiting[1:], return_exceptions=True)
    assert [type(each) for each in refused] == [Unavailable] * 3
    assert not closing.done()
    server.gates[0].set()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert (await waiting[0]).change_id == "under way"
    assert server.batches == [["under way"]]


async def test_a_writer_that_was_cancelled_before_it_began_keeps_nobody_waiting() -> None:
    server = Server()
    waiting = asyncio.ensure_future(server.commit("a"))
    await asyncio.sleep(0)  # its writer is about to begin
    (writer,) = (task for task in asyncio.all_tasks() if task.get_name() == "holdfast:writer")
    writer.cancel()
    await asyncio.wait([writer])
    async with asyncio.timeout(10):
        assert (await server.commit("b")).change_id == "b"
        assert (await waiting).change_id == "a"
        await server.committer.close()


def test_a_loop_that_ends_while_it_writes_finishes_the_batch() -> None:
    """asyncio.run cancels the writer once and waits for it: what it was writing for others is written."""
    server = Server()

    async def leave() -> None:
        waiting = asyncio.ensure_future(server.commit("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(leave())
    assert server.batches in ([["a"]], [])
    asyncio.run(server.commit("b"))  # type: ignore[arg-type]
    assert [name for batch in server.batches for name in batch] == ["a", "b"]


def test_what_a_dead_loop_left_in_the_queue_is_written_by_the_next() -> None:
    server = Server()
    loop = asyncio.new_event_loop()

    async def queue() -> None:
        loop.create_task(server.commit("under way"))  # noqa: RUF006
        for _ in range(3):
            await asyncio.sleep(0)
        loop.create_task(server.commit("queued"))  # noqa: RUF006
        await asyncio.sleep(0)

    server.gates = [asyncio.Event()]
    loop.run_until_complete(queue())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it dies with its loop, as the test wants it
    loop.close()
    server.gates.clear()
    asyncio.run(server.commit("next"))  # type: ignore[arg-type]
    assert [name for batch in server.batches for name in batch] == ["queued", "next"]


def test_threads_share_one_writer_and_are_answered_on_their_own_loops() -> None:
    server = Server()
    together = threading.Barrier(4)
    answers: dict[str, int] = {}

    async def work(name: str) -> int:
        together.wait(10)
        done = await asyncio.gather(*(server.commit(f"{name}{number}") for number in range(50)))
        return len(done)

    threads = [
        threading.Thread(target=lambda name=name: answers.update({name: asyncio.run(work(name))}))  # type: ignore[misc]
        for name in "wxyz"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == dict.fromkeys("wxyz", 50)
    assert sorted(name for batch in server.batches for name in batch) == sorted(
        f"{name}{number}" for name in "wxyz" for number in range(50)
    )


def test_a_child_of_a_fork_does_not_write_what_its_parent_queued() -> None:
    server = Server()
    loop = asyncio.new_event_loop()

    async def queue_and_fork() -> int:
        waiting = asyncio.ensure_future(server.commit("parent"))
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            return 0
        await waiting
        return pid

    pid = loop.run_until_complete(queue_and_fork())
    if pid == 0:
        code = 1
        try:
            asyncio._set_running_loop(None)
            server.batches.clear()
            asyncio.run(server.commit("child"))  # type: ignore[arg-type]
            code = 0 if server.batches == [["child"]] else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert server.batches == [["parent"]]
    loop.close()
