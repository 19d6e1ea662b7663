"""A pydantic-ai agent as one of ours, with the models that pydantic-ai brings for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pydantic
import pydantic_ai
import pytest
from pydantic_ai.exceptions import ModelHTTPError, UsageLimitExceeded
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.usage import UsageLimits

from holdfast import AgentExecutionCore, AgentNetwork, BreakerOpen, Budget, BudgetExceeded, UserExecutionContext
from holdfast.integrations.pydantic_ai import from_pydantic_ai
from tests.agents.bodies import Seen

ANA = UserExecutionContext(user="ana")


class Finding(pydantic.BaseModel):
    """A typed output."""

    cause: str
    confidence: float = 1.0


@pytest.fixture
async def core() -> AsyncIterator[AgentExecutionCore]:
    async with AgentExecutionCore(watches_loop=False) as opened:
        yield opened


async def test_its_output_is_typed_and_its_steps_are_told(core: AgentExecutionCore) -> None:
    """A model that asks for a tool, and answers by it: the tool knows for whom it works."""

    def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("look_up", {"service": "shop"})])
        (output,) = info.output_tools
        return ModelResponse(parts=[ToolCallPart(output.name, {"cause": "memory", "confidence": 0.9})])

    asked: list[tuple[str, str]] = []
    model = pydantic_ai.Agent(FunctionModel(think), name="triage", output_type=Finding, deps_type=str)

    @model.tool
    async def look_up(ctx: pydantic_ai.RunContext[str], service: str) -> str:
        asked.append((ctx.deps, service))
        return "out of memory"

    seen = Seen()
    triage = from_pydantic_ai(model, deps=lambda call: call.context.user)
    assert (triage.name, triage.gives) == ("triage", Finding)
    found = await core.execute(ANA, triage, "why is the shop slow?", emit=seen)
    assert found == Finding(cause="memory", confidence=0.9)
    assert asked == [("ana", "shop")]
    assert seen.kinds() == ["started", "progress", "tool", "tool", "progress", "finished"]
    assert [event.facts.get("phase") for event in seen.events if event.kind == "tool"] == ["began", "ended"]


async def test_its_tokens_are_taken_from_the_budget(core: AgentExecutionCore) -> None:
    budget = Budget(tokens=1)
    context = UserExecutionContext(user="ana", budget=budget)
    agent = from_pydantic_ai(pydantic_ai.Agent(TestModel(custom_output_text="hello"), name="greeter"))
    assert await core.execute(context, agent, "hi") == "hello"
    assert budget.spent.calls == 1
    assert budget.spent.tokens > 1
    with pytest.raises(BudgetExceeded):
        budget.spend(tokens=1)


async def test_a_model_that_is_away_opens_the_breaker(core: AgentExecutionCore) -> None:
    """By its HTTP status, as the preset for models counts: a refused request is the caller's own."""
    status = 503
    calls = 0

    def fail(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        nonlocal calls
        calls += 1
        raise ModelHTTPError(status, "model")

    agent = from_pydantic_ai(pydantic_ai.Agent(FunctionModel(fail), name="away"))
    for _ in range(5):
        with pytest.raises(ModelHTTPError):
            await core.execute(ANA, agent, "hi")
    with pytest.raises(BreakerOpen):
        await core.execute(ANA, agent, "hi")
    assert calls == 5
    status = 400
    other = from_pydantic_ai(pydantic_ai.Agent(FunctionModel(fail), name="refuses"))
    for _ in range(20):
        with pytest.raises(ModelHTTPError):
            await core.execute(ANA, other, "hi")


async def test_its_own_limits_hold(core: AgentExecutionCore) -> None:
    agent = from_pydantic_ai(
        pydantic_ai.Agent(TestModel(), name="thrifty"), usage_limits=UsageLimits(request_limit=0)
    )  # fmt: skip
    with pytest.raises(UsageLimitExceeded):
        await core.execute(ANA, agent, "hi")


async def test_it_stands_in_a_network(core: AgentExecutionCore) -> None:
    def repeat(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        (part, *_) = messages[-1].parts
        return ModelResponse(parts=[TextPart(f"<{part.content}>")])  # type: ignore[union-attr]

    agents = [from_pydantic_ai(pydantic_ai.Agent(FunctionModel(repeat), name=name)) for name in ("a", "b")]
    result = await AgentNetwork("net", [[agents[0]], [agents[1]]]).run(ANA, "hi", core=core)
    assert result.output == "<<hi>>"
