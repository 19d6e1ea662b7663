"""A network of agents as the handler of a state: each agent a step, typed when read back, retried alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pydantic
import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentExecutionCore,
    AgentNetwork,
    InvalidOutput,
    NetworkFailed,
    Retry,
    RunContext,
    Workflow,
)
from holdfast.store.contract.records import Query, Scope
from holdfast.workflow.model.run import MEMO
from tests.agents.bodies import Answer, Seen
from tests.engine.labs import OpenLab


class Model(pydantic.BaseModel):
    """What an agent of another framework may give."""

    n: int


@pytest.fixture
async def core() -> AsyncIterator[AgentExecutionCore]:
    """One that does not watch the loop: the lab's time is its own."""
    async with AgentExecutionCore(watches_loop=False) as opened:
        yield opened


def counted(calls: Counter[str], name: str, *, fails_first: int = 0, result: Any = None, gives: Any = Any) -> Agent:
    """An agent that counts its calls, and fails the first times."""

    async def body(value: Any, call: AgentCall) -> Any:
        calls[name] += 1
        assert call.key.endswith(f"/net/{name}"), call.key
        if calls[name] <= fails_first:
            raise ConnectionError("away")
        return name if result is None else result

    return Agent(body, name=name, gives=gives)


async def test_a_retry_runs_what_failed_and_nothing_else(open_lab: OpenLab, core: AgentExecutionCore) -> None:
    """b fails twice, and then goes well: a ran once, c once behind it, and the run never left its state meanwhile."""
    calls = Counter[str]()
    network = AgentNetwork(
        "net", [[counted(calls, "a"), counted(calls, "b", fails_first=2)], [counted(calls, "c")]]
    )  # fmt: skip
    wf = Workflow("networked", data=dict)
    wf.add_state("work", network.handler(lambda: core, into="net"), start=True, to="done", retry=Retry(attempts_max=3))
    wf.final("done")
    lab = await open_lab(wf)
    run = await lab.start("networked", {})
    await lab.skip(60)
    data = await run.result()
    assert calls == {"a": 1, "b": 3, "c": 1}
    assert data["net"] == {"results": {"a": "a", "b": "b", "c": "c"}, "failures": {}, "skipped": []}


async def test_results_are_typed_on_the_first_run_and_when_read_back(
    open_lab: OpenLab, core: AgentExecutionCore
) -> None:
    """The handler fails behind the network once: the second attempt reads all results from memos, of the same types."""
    calls, seen = Counter[str](), []
    network = AgentNetwork(
        "net",
        [[
            counted(calls, "a", result=Answer("x", 1), gives=Answer),
            counted(calls, "b", result=Model(n=2), gives=Model),
        ]],
    )  # fmt: skip
    wf = Workflow("networked", data=dict)

    @wf.state("work", start=True, to="done", retry=Retry(attempts_max=3))
    async def work(ctx: RunContext) -> None:
        seen.append(dict((await network.run_in(ctx, ctx.input, core=core)).results))
        if len(seen) == 1:
            raise ConnectionError("behind it")

    wf.final("done")
    lab = await open_lab(wf)
    run = await lab.start("networked", {})
    await lab.skip(60)
    await run.result()
    assert seen == [{"a": Answer("x", 1), "b": Model(n=2)}] * 2
    assert calls == {"a": 1, "b": 1}


async def test_each_agent_is_one_memo(open_lab: OpenLab, core: AgentExecutionCore) -> None:
    """And the events carry the run that it is for."""
    calls, events = Counter[str](), Seen()
    network = AgentNetwork("net", [[counted(calls, name) for name in "abc"], [counted(calls, "d")]])
    wf = Workflow("networked", data=dict)
    names: list[str] = []

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        await network.run_in(ctx, core=core, emit=events)
        await ctx.step("flushes", len, "what came before it")
        page = await lab.store.scan(Scope.system(), Query(kind=MEMO), limit=100)
        names.extend("/".join(record.key.id.split("/")[-2:]) for record in page.records)

    wf.final("done")
    lab = await open_lab(wf)
    run = await lab.start("networked", {})
    await run.result()
    assert {"net/a", "net/b", "net/c", "net/d"} <= set(names)
    assert {(event.user, event.run) for event in events.events} == {(lab.user, run.id)}


async def test_two_networks_in_one_visit_need_a_key(open_lab: OpenLab, core: AgentExecutionCore) -> None:
    async def body(value: Any) -> Any:
        return value

    network = AgentNetwork("net", [[Agent(body, name="a")]])
    wf = Workflow("networked", data=dict)

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        for number in range(3):
            found = await network.run_in(ctx, number, core=core, key=str(number))
            ctx.data[str(number)] = found.output

    wf.final("done")
    lab = await open_lab(wf)
    assert await (await lab.start("networked", {})).result() == {"0": 0, "1": 1, "2": 2}


async def test_what_no_retry_can_help_is_not_retried(open_lab: OpenLab, core: AgentExecutionCore) -> None:
    calls = Counter[str]()
    network = AgentNetwork("net", [[counted(calls, "liar", result="three", gives=int)]])
    wf = Workflow("networked", data=dict)

    @wf.state("work", start=True, to="done", retry=Retry(attempts_max=5))
    async def work(ctx: RunContext) -> None:
        with pytest.raises(NetworkFailed) as caught:
            await network.run_in(ctx, core=core)
        assert isinstance(caught.value.__cause__, InvalidOutput)
        raise caught.value

    wf.final("done")
    lab = await open_lab(wf)
    run = await lab.start("networked", {})
    await lab.skip(60)
    assert (await run.refresh()).status == "failed"
    assert calls == {"liar": 1}
