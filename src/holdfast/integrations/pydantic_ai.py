"""A pydantic-ai agent as an agent of holdfast. Needs `pip install 'holdfast[pydantic-ai]'`.

Its model requests and tools are told as events, and are signs of life; its tokens are taken from the context's budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic_ai
from pydantic_ai.messages import FunctionToolCallEvent, FunctionToolResultEvent
from pydantic_ai.usage import UsageLimits

from holdfast import Agent, AgentCall, AgentType, preset

MODEL = AgentType(
    name="pydantic-ai", breaker=preset("llm"), recovery_s=120.0, timeout_s=600.0, slow_s=60.0, lease_ttl_s=180.0
)
"""The type unless another is given: the breaker of models, and three minutes for a model that says nothing."""


def from_pydantic_ai(
    agent: pydantic_ai.Agent[Any, Any],
    *,
    name: str | None = None,
    type: str | AgentType = MODEL,
    takes: Any = str,
    gives: Any = None,
    prompt: Callable[[Any], str] = str,
    deps: Callable[[AgentCall], Any] | None = None,
    usage_limits: UsageLimits | None = None,
) -> Agent:
    """An agent that asks `agent`, a `pydantic_ai.Agent`.

    `takes`: what it is given, of which `prompt` makes the user's prompt; `gives`: its output type, that of the agent
    unless told. `deps` makes its dependencies from the call, so that its tools know for whom they work; `usage_limits`
    bounds one call. Each request to the model is told as progress (`node`), each of its tools as a tool.

    Example: `triage = from_pydantic_ai(pydantic_ai.Agent("anthropic:...", name="triage", output_type=Finding))`.
    """
    output = agent.output_type
    plain = output if isinstance(output, _TYPE) else Any

    async def ask(value: Any, call: AgentCall) -> Any:
        given = None if deps is None else deps(call)
        async with agent.iter(prompt(value), deps=given, usage_limits=usage_limits) as run:
            try:
                async for node in run:
                    if pydantic_ai.Agent.is_model_request_node(node):
                        call.progress(node="model request")
                    elif pydantic_ai.Agent.is_call_tools_node(node):
                        async with node.stream(run.ctx) as events:
                            async for event in events:
                                _tell(call, event)
            finally:
                used = run.usage
                if not call.is_fenced:
                    call.charge(tokens=used.input_tokens + used.output_tokens)
            assert run.result is not None
            return run.result.output

    return Agent(ask, name=name or agent.name, type=type, takes=takes, gives=plain if gives is None else gives)


_TYPE = type


def _tell(call: AgentCall, event: object) -> None:
    if isinstance(event, FunctionToolCallEvent):
        call.used(event.part.tool_name, "began")
    elif isinstance(event, FunctionToolResultEvent):
        call.used(event.part.tool_name or "", "ended")
