"""Large values: inputs, signals, results of steps and a handler's own, kept in chunks beyond the bound of a payload."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from holdfast import (
    BlobRef,
    Conflict,
    InvalidInput,
    InvalidTransition,
    NotFound,
    Retention,
    Retry,
    RunContext,
    RunHandle,
    Workflow,
    codec,
)
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Change, Commit, Query, Record, Scope
from holdfast.store.memory import MemoryStore
from holdfast.store.rows.blobs import BLOB
from holdfast.store.rows.digest import digest_of
from holdfast.testing import Lab, VirtualClock
from holdfast.testing.virtual_clock import Gate
from holdfast.workflow.actors.memos import HELD_BYTES_MAX
from tests.engine.labs import ON_MEMORY, OpenLab, World

LARGE = 3_000_000


async def chunks(store: Store) -> list[str]:
    """The ids of the blobs that a store holds, each once."""
    page = await store.scan(Scope.system(), Query(kind=BLOB), limit=1000)
    return sorted({record.key.id.rpartition("/")[0] for record in page.records})


def large(world: World, name: str) -> str:
    """A large result; counts its calls."""
    world.do(name)
    return name * LARGE


def work(world: World, gates: list[Gate]) -> Workflow:
    """A state with large results, which fails once and waits at a gate; then an end."""
    workflow = Workflow("work", data=dict, retry=Retry(first_s=1))

    @workflow.state("compute", start=True, to="end")
    async def compute(ctx: RunContext) -> None:
        a = await ctx.step("a", large, world, "a")
        b = await ctx.step("b", large, world, "b")
        if ctx.attempt == 1:
            raise TimeoutError("once")
        await gates[0].wait()
        c = await ctx.step("c", large, world, "c")
        ctx.data["sizes"] = [len(a), len(b), len(c), (await ctx.step("a", large, world, "a"))[:1]]

    workflow.final("end")
    return workflow


async def test_large_results_are_memos_like_others(open_lab: OpenLab) -> None:
    """Not computed again in another attempt, nor after a restart, and gone with their visit."""
    world = World()
    gates: list[Gate] = []
    lab = await open_lab(work(world, gates))
    gates.append(lab.gate())
    run = await lab.start("work", id="T")
    await lab.skip("2s")
    assert [name.rpartition("/")[2] for name in await chunks(lab.store)] == ["a", "b"]
    await lab.restart()
    await lab.settle()
    gates[0].open()
    run = await lab.client.get("T")
    assert await run.result() == {"sizes": [LARGE, LARGE, LARGE, "a"]}
    assert world.calls == {"a": 1, "b": 1, "c": 1}
    assert await chunks(lab.store) == []


async def test_many_large_results_side_by_side(open_lab: OpenLab) -> None:
    """More than one change holds: those before go on their way."""
    world = World()
    workflow = Workflow("fan", data=dict)
    size = HELD_BYTES_MAX // 4

    def make(number: int) -> str:
        world.do("make")
        return f"{number}" * size

    @workflow.state("compute", start=True, to="end")
    async def compute(ctx: RunContext) -> None:
        ctx.note("large", text_too="y" * 200_000)
        found = await ctx.map("make", make, range(6), key=str)
        ctx.data["found"] = [text[0] for text in found]

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("fan")
    assert await run.result() == {"found": ["0", "1", "2", "3", "4", "5"]}
    assert world.calls["make"] == 6
    assert await chunks(lab.store) == []


def echoing() -> Workflow:
    """What came in by input and by signal, as seen by handlers."""
    workflow = Workflow("echo", data=dict)

    @workflow.state("look", start=True, to="open")
    async def look(ctx: RunContext) -> None:
        ctx.data["input"] = [len(ctx.input["text"]), ctx.input["text"][-1:]]

    workflow.wait("open", on={"say": "heard", "stop": "end"})

    @workflow.state("heard", to="open")
    async def heard(ctx: RunContext) -> None:
        said = len(ctx.signal["data"]) if ctx.signal is not None else -1
        ctx.data["said"] = [*ctx.data.get("said", []), said]

    workflow.final("end")
    return workflow


async def test_large_input_is_one_input_like_others(open_lab: OpenLab) -> None:
    lab = await open_lab(echoing())
    given = {"text": "x" * LARGE + "y"}
    run = await (await lab.start("echo", given, id="T")).reach("open")
    assert run.data == {"input": [LARGE + 1, "y"]}
    assert len(codec.encode(run.run)) < 10_000, "the run's record is small"
    assert (await lab.start("echo", given, id="T")).id == run.id
    for other in ({"text": "x" * LARGE + "z"}, {"text": "small"}):
        with pytest.raises(Conflict, match="another input"):
            await lab.start("echo", other, id="T")
    assert await chunks(lab.store) == [f"{run.id}/input"], "what was refused left nothing"
    fork = await (await lab.client.fork("T", version=1, id="F")).reach("open")
    assert fork.data == run.data


async def test_large_data_of_a_signal_reach_the_handler(open_lab: OpenLab) -> None:
    lab = await open_lab(echoing())
    run = await (await lab.start("echo", {"text": "x"}, id="T")).reach("open")
    for size in (LARGE, 5, 2 * LARGE):
        await run.send("say", by="ana", data="s" * size)
        await run.reach("open")
    assert (await run.refresh()).data["said"] == [LARGE, 5, 2 * LARGE]
    assert len(await chunks(lab.store)) == 2
    fork = await (await lab.client.fork("T", version=3, id="F")).reach("open")
    assert fork.data["said"] == [LARGE], "an older version's signal is there as well"
    with pytest.raises(InvalidTransition):
        await lab.client.send(run.id, "say", by="ana", state="open", visit=1, data="s" * LARGE)
    assert len(await chunks(lab.store)) == 2, "what was refused left nothing"
    with pytest.raises(InvalidInput, match="data of signal say: expected at most 33554432 bytes"):
        await run.send("say", by="ana", data="s" * (32 * 1024 * 1024))


class Report(msgspec.Struct):
    """Data with a type."""

    pdf: BlobRef | None = None
    size: int = 0


def reporting(data: type[Any]) -> Workflow:
    workflow = Workflow("reporting", data=data)

    @workflow.state("write", start=True, to="read")
    async def write(ctx: RunContext) -> None:
        for _ in range(2):
            ref = await ctx.put_blob("pdf", b"%PDF" + bytes(range(256)) * 10_000)
        if data is dict:
            ctx.data["pdf"] = ref
        else:
            ctx.data.pdf = ref

    workflow.wait("read", on={"go": "use"})

    @workflow.state("use", to="end")
    async def use(ctx: RunContext) -> None:
        ref = ctx.data["pdf"] if data is dict else ctx.data.pdf
        size = await ctx.step("size", measure, ref, ctx)
        if data is dict:
            ctx.data["size"] = size
        else:
            ctx.data.size = size

    async def measure(ref: Any, ctx: RunContext) -> int:
        return len(await ctx.get_blob(ref))

    workflow.final("end")
    return workflow


@pytest.mark.parametrize("data", [dict, Report])
async def test_blob_is_kept_by_its_reference(open_lab: OpenLab, data: type[Any]) -> None:
    lab = await open_lab(reporting(data))
    run = await (await lab.start("reporting", id="T")).reach("read")
    ref = run.data["pdf"] if data is dict else run.data.pdf
    assert (await run.get_blob(ref))[:4] == b"%PDF"
    assert len(await chunks(lab.store)) == 1, "the same bytes are kept once"
    await lab.restart()
    run = await lab.client.get("T")
    await run.send("go", by="ana")
    found = await run.result()
    assert (found["size"] if data is dict else found.size) == 2_560_004
    assert (await run.get_blob(ref))[:4] == b"%PDF", "and outlasts the end of the run"
    with pytest.raises(InvalidInput, match="expected what put_blob gave"):
        await run.get_blob({"id": "x"})
    stranger = await lab.engine.start("reporting", user="bob")
    with pytest.raises(NotFound, match="there is no such blob"):
        await stranger.get_blob(ref)


@pytest.mark.parametrize(("name", "data"), [("a/b", b"x"), ("", b"x"), ("a", "text"), ("a\n", b""), ("a", None)])
async def test_what_is_no_blob_fails_its_run(open_lab: OpenLab, name: str, data: Any) -> None:
    workflow = Workflow("odd")

    @workflow.state("write", start=True, to="end")
    async def write(ctx: RunContext) -> None:
        await ctx.put_blob(name, data)

    workflow.final("end")
    lab = await open_lab(workflow)
    run = await lab.start("odd")
    await lab.settle()
    assert (await run.refresh()).status == "failed"
    assert "expected" in run.run.reason


@ON_MEMORY
async def test_blobs_go_with_their_run_and_not_before(open_lab: OpenLab) -> None:
    """Nor before a fork of it has gone, whose data name them."""
    lab = await open_lab(echoing(), reporting(dict), retention=Retention(keep_for="30d", every="1d"))
    run = await (await lab.start("echo", {"text": "x" * LARGE}, id="T")).reach("open")
    await run.send("say", by="ana", data="s" * LARGE)
    report = await (await lab.start("reporting", id="R")).reach("read")
    await lab.skip("100d")
    assert len(await chunks(lab.store)) == 3, "of runs that live"
    fork = await (await lab.client.fork("R", id="F")).reach("read")
    await report.send("go", by="ana")
    await (await run.reach("open")).send("stop", by="ana")
    await lab.skip("40d")
    assert len(await chunks(lab.store)) == 1
    await fork.send("go", by="ana")
    assert (await fork.result())["size"] == 2_560_004
    await lab.skip("40d")
    assert await chunks(lab.store) == []


async def spoil(lab: Lab, at: int) -> None:
    """Put other bytes into a chunk, with the right digest for a record: only the blob's own tells."""
    store: Any = lab.store
    async with store.snapshot() as view:
        found = [each async for each in view.histories() if each.key.kind == BLOB]
    record: Record = found[at].row.record
    other = replace(record, body=codec.encode(b"other"))
    other = replace(other, digest=digest_of(other))
    await store.load([replace(found[at], row=found[at].row._replace(record=other))])


async def test_damaged_blob_is_named(open_lab: OpenLab) -> None:
    lab = await open_lab(reporting(dict))
    run: RunHandle = await (await lab.start("reporting", id="T")).reach("read")
    await spoil(lab, 1)
    await run.send("go", by="ana")
    await lab.skip("2m")
    assert (await run.refresh()).status == "failed"
    assert f"Corrupt: blob {run.id}/data/pdf/" in run.run.reason
    assert "expected digest" in run.run.reason


async def test_visits_without_large_results_cost_no_removal_of_chunks() -> None:
    """An actor that knows all memos of a visit looks for no chunks; who does not know them does."""
    removed: list[str] = []

    class Listening(MemoryStore):
        async def commit(self, scope: Scope, change: Change) -> Commit:
            removed.extend(removal.kind for removal in change.removes)
            return await super().commit(scope, change)

    clock = VirtualClock()
    store = Listening(clock=clock)
    world, gates = World(), [Gate(clock)]
    async with Lab(echoing(), work(world, gates), store=store, clock=clock) as lab:
        run = await (await lab.start("echo", {"text": "x"})).reach("open")
        assert removed == ["memo"]
        await run.send("stop", by="ana")
        assert removed == ["memo", "memo", "blob"], "the sender judged it, and knows nothing of the visit"
        removed.clear()
        run = await lab.start("work")
        await lab.skip("2s")
        assert removed == []
        gates[0].open()
        await run.result()
        assert removed == ["memo", "blob"]
    await store.close()
