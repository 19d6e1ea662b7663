"""A workflow known by its outline judges as its code does, and says where it cannot."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import Engine, InvalidDefinition, Workflow
from holdfast.codec import encode
from holdfast.store.contract.records import Scope
from holdfast.store.memory import MemoryStore
from holdfast.workflow.decisions.admission import visits_of
from holdfast.workflow.model.outline import Outline, Outlined, decode_outline, encode_outline, outline_key, outline_of
from tests.cli import shop


def stored(workflow: Workflow) -> Outline:
    """The outline of a workflow after a round through its stored form."""
    return decode_outline(encode_outline(outline_of(workflow.build())))


def sides() -> Workflow:
    """Two regions side by side, one of which waits, with a history beside them."""
    workflow = Workflow("sides", deadline="2d")

    async def work(ctx: object) -> None: ...

    workflow.parallel("both", to="closed", start=True, after={"10m": "closed"})
    workflow.add_state("both.work", work)
    workflow.wait("both.wait", on={"go": "done"}, sla="5m")
    workflow.final("closed")
    return workflow


@pytest.mark.parametrize("workflow", [shop.workflow, sides()], ids=["shop", "sides"])
def test_an_outline_says_what_the_code_declares(workflow: Workflow) -> None:
    code, outlined = workflow.build(), Outlined(stored(workflow)).build()
    assert outlined.chart.hash == code.chart.hash
    assert outlined.acceptors == code.acceptors
    assert list(outlined.leaf_specs) == list(code.leaf_specs)
    assert (outlined.name, outlined.version, outlined.deadline_s) == (code.name, code.version, code.deadline_s)
    for path, spec in code.specs.items():
        other = outlined.specs[path]
        for name in ("kind", "edges", "signals", "after", "retry", "timeout_s", "sla_s", "on_error", "join", "is_deep"):
            assert getattr(other, name) == getattr(spec, name), (path, name)
        assert (other.lock is None, other.about is None) == (spec.lock is None, spec.about is None)


def test_an_outline_of_a_chart_that_compiles_to_another_is_refused() -> None:
    outline = stored(shop.workflow)
    other = decode_outline(encode({**outline_fields(outline), "chart_hash": "0" * 64}))
    with pytest.raises(InvalidDefinition, match="the version of holdfast that stored it"):
        Outlined(other).build()


def outline_fields(outline: Outline) -> dict[str, object]:
    """The fields of an outline."""
    return {name: getattr(outline, name) for name in outline.__struct_fields__}


async def test_an_engine_leaves_the_outline_of_its_newest_code() -> None:
    store, older, newer = MemoryStore(), Workflow("line"), Workflow("line")
    for workflow, last in ((older, "end"), (newer, "finish")):
        workflow.wait("begin", on={"go": last}, start=True)
        workflow.final(last)
    seen = []
    for workflow in (older, older, newer):
        async with Engine(store, workflow):
            record = (await store.read(Scope.system(), [outline_key("line", 1)]))[0]
            assert record is not None
            seen.append((record.version, decode_outline(record.body).chart_hash))
    await store.close()
    assert seen == [(1, older.build().chart.hash), (1, older.build().chart.hash), (2, newer.build().chart.hash)]


async def test_a_door_without_code_decides_for_an_engine_with_it() -> None:
    store = MemoryStore()
    async with Engine(store, sides()) as engine:
        run = await engine.start("sides", id="S-1", user="ana")
        await asyncio.sleep(0)
        async with Engine(store, Outlined(stored(sides())), works=False) as door:
            seen = await door.get("S-1", user="ana")
            assert visits_of(Outlined(stored(sides())).build(), seen.run)["both.wait"] == 1
            await seen.send("go", by="bob")
        await run.reach("closed", timeout_s=10)
    await store.close()
