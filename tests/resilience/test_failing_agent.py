"""The failing agent fails as it is told, and breakers see what they should."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.errors import BreakerOpen, InvalidInput
from holdfast.resilience.breaker import CircuitBreaker, preset
from holdfast.resilience.breaker.keyed import KeyedBreakers
from holdfast.testing import AgentDown, AgentThrottled, FailingAgent, Spell, VirtualClock


async def became(agent: FailingAgent, calls: int) -> list[str]:
    for _ in range(calls):
        await asyncio.gather(agent(), return_exceptions=True)
    return [call.became for call in agent.calls]


async def test_it_fails_from_one_time_to_another() -> None:
    clock = VirtualClock()
    agent = FailingAgent(Spell("fails", from_s=10, until_s=20), clock=clock, answer=lambda question: question.upper())
    start = clock.time_s()
    assert await agent("why?") == "WHY?"
    clock.advance_to(start + 10)
    with pytest.raises(AgentDown):
        await agent("why?")
    clock.advance_to(start + 20)
    assert await agent("why?") == "WHY?"
    assert [call.at_s for call in agent.calls] == [0, 10, 20]


async def test_a_rate_is_drawn_from_its_seed() -> None:
    drawn = [await became(FailingAgent(Spell("fails", rate=0.3), seed=seed), 100) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 15 < drawn[0].count("fails") < 45


async def test_slow_calls_take_their_time_and_hanging_ones_never_end() -> None:
    clock = VirtualClock()
    agent = FailingAgent(Spell("slow", until_s=1, takes_s=30), Spell("hangs"), clock=clock)
    start = clock.time_s()
    slow = asyncio.ensure_future(agent())
    await asyncio.sleep(0)
    clock.advance_to(start + 30)
    assert await slow == "done"
    hanging = asyncio.ensure_future(agent())
    await asyncio.sleep(0)
    clock.advance_to(start + 1e6)
    await asyncio.sleep(0)
    assert not hanging.done()
    hanging.cancel()


async def test_a_stream_that_breaks_off_counts_once() -> None:
    agent = FailingAgent(Spell("breaks_off"))
    breaker = CircuitBreaker("llm", preset("llm"))
    items = breaker.stream(agent.stream)
    assert await anext(items) == "one"
    with pytest.raises(AgentDown):
        await anext(items)
    assert breaker.look().counts.failures == 1


async def test_a_throttled_key_waits_as_long_as_it_was_told() -> None:
    agent = FailingAgent(Spell("throttles", retry_after_s=7))
    keyed = KeyedBreakers("llm", preset("llm"))
    with pytest.raises(AgentThrottled):
        await keyed.call("key", agent)
    with pytest.raises(BreakerOpen) as refused:
        await keyed.call("key", agent)
    assert refused.value.retry_after_s == pytest.approx(7, abs=0.5)
    assert agent.counts == {"throttles": 1}


@pytest.mark.parametrize(
    "wrong", [{"trouble": "sulks"}, {"trouble": "fails", "rate": 2}, {"trouble": "slow", "from_s": 5, "until_s": 5}]
)
def test_a_spell_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="spell: expected"):
        Spell(**wrong)  # type: ignore[arg-type]
