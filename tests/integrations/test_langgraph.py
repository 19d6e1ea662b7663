"""A LangGraph graph as one of our agents: its nodes are told, its thread is its user's alone."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from holdfast import AgentExecutionCore, UserExecutionContext, WorkflowError
from holdfast.integrations.langgraph import from_langgraph
from tests.agents.bodies import Seen


class State(TypedDict):
    """What the graphs here work on."""

    text: str
    said: Annotated[list[str], operator.add]


async def hear(state: State) -> dict[str, Any]:
    return {"said": [state["text"]]}


async def count(state: State) -> dict[str, Any]:
    return {"text": f"heard {len(state['said'])}"}


def graph_of(**nodes: Any) -> StateGraph[Any]:
    """A line of nodes."""
    graph = StateGraph(State)
    for before, (name, node) in zip((START, *nodes), nodes.items(), strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    graph.add_edge(list(nodes)[-1], END)
    return graph


@pytest.fixture
async def core() -> AsyncIterator[AgentExecutionCore]:
    async with AgentExecutionCore(watches_loop=False) as opened:
        yield opened


async def test_its_nodes_are_told_and_its_last_values_given(core: AgentExecutionCore) -> None:
    seen = Seen()
    agent = from_langgraph(
        graph_of(hear=hear, count=count).compile(), name="graph", result=lambda v: v["text"], gives=str
    )
    ana = UserExecutionContext(user="ana")
    assert await core.execute(ana, agent, {"text": "hi"}, emit=seen) == "heard 1"
    assert [event.facts.get("node") for event in seen.events] == [None, "hear", "count", None]
    whole = from_langgraph(graph_of(hear=hear, count=count).compile(), name="whole")
    assert await core.execute(ana, whole, {"text": "hi"}) == {"text": "heard 1", "said": ["hi"]}


async def test_a_checkpointers_threads_are_each_users_own(core: AgentExecutionCore) -> None:
    """Ids that would run together if they were joined: each context goes on with its own thread, and one without a
    thread has none to go on with."""
    graph = graph_of(hear=hear, count=count).compile(checkpointer=InMemorySaver())
    agent = from_langgraph(graph, name="graph", result=lambda values: values["said"], gives=list[str])
    contexts = [
        UserExecutionContext(tenant="a/b", user="c", thread="d"),
        UserExecutionContext(tenant="a", user="b/c", thread="d"),
        UserExecutionContext(tenant="a", user="b", thread="c/d"),
        UserExecutionContext(tenant="a/b", user="c", run="d/e"),
    ]
    for number in (1, 2):
        for place, context in enumerate(contexts):
            said = await core.execute(context, agent, {"text": str(place)})
            assert said == [str(place)] * number
    nowhere = UserExecutionContext(user="ana")
    for _ in range(2):
        assert await core.execute(nowhere, agent, {"text": "hi"}) == ["hi"]


async def test_a_graph_that_waits_for_a_person_is_a_permanent_error(core: AgentExecutionCore) -> None:
    def ask(state: State) -> dict[str, Any]:
        return {"text": interrupt("may I?")}

    graph = graph_of(hear=hear, ask=ask).compile(checkpointer=InMemorySaver())
    with pytest.raises(WorkflowError, match="let a state of the workflow wait") as caught:
        await core.execute(UserExecutionContext(user="ana"), from_langgraph(graph, name="graph"), {"text": "hi"})
    assert not caught.value.is_retryable
