"""A LangGraph graph as an agent of holdfast. Needs `pip install 'holdfast[langgraph]'`.

Its steps are told as events, and are signs of life; its thread is that of the user who asks, and nobody else's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from langgraph.pregel import Pregel

from holdfast import Agent, AgentCall, AgentType, ErrorType, WorkflowError, preset

GRAPH = AgentType(
    name="langgraph", breaker=preset("llm"), recovery_s=120.0, timeout_s=600.0, slow_s=60.0, lease_ttl_s=180.0
)
"""The type unless another is given: the breaker of models, and three minutes for a node that says nothing."""


def from_langgraph(
    graph: Pregel[Any, Any, Any, Any],
    *,
    name: str,
    type: str | AgentType = GRAPH,
    takes: Any = dict,
    gives: Any = Any,
    result: Callable[[dict[str, Any]], Any] = dict,
    config: Mapping[str, Any] | None = None,
) -> Agent:
    """An agent that runs `graph`, a compiled graph, on what it is given.

    `result` makes what it gives of the graph's last values, which have to fit into JSON: `lambda values:
    values["answer"]`. `config` is the graph's own; `thread_id` is set from the context (tenant, user, and its thread
    or run), so that a checkpointer never gives one user another's thread. Each node that ends is told as progress
    (`node`). A graph that interrupts itself to wait for a person is a permanent error: let the workflow wait, in a
    state.
    """

    async def run(value: dict[str, Any], call: AgentCall) -> Any:
        own: Any = dict(config or {})  # a RunnableConfig, of a package below it
        own["configurable"] = {**own.get("configurable", {}), "thread_id": thread_of(call)}
        last: Any = {}
        async for mode, chunk in graph.astream(value, own, stream_mode=["updates", "values"]):
            if mode == "values":
                last = chunk
                continue
            for node in chunk:
                if node == "__interrupt__":
                    raise WorkflowError(
                        f"agent {call.agent}: its graph waits for a person; let a state of the workflow wait instead",
                        error_type=ErrorType.PERMANENT,
                    )
                call.progress(node=node)
        return result(last)

    return Agent(run, name=name, type=type, takes=takes, gives=gives)


def thread_of(call: AgentCall) -> str:
    """The id of a thread that is this user's alone; where the context names none, of this call alone."""
    context = call.context
    return json.dumps([context.tenant, context.user, context.thread or context.run or call.id])
