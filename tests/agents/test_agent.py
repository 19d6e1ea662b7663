"""What an agent may be made of, and that only what fits goes in and comes out."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentExecutionCore,
    AgentType,
    InvalidDefinition,
    InvalidInput,
    InvalidOutput,
    Rejected,
    agent,
    preset,
)
from holdfast.agents import TYPES
from tests.agents.bodies import ANA, Answer, Question, answer, question


class Reading(pydantic.BaseModel):
    """A model with a rule of its own."""

    celsius: float = pydantic.Field(ge=-273.15)


class Translator:
    """An object with a method."""

    name = "translator"

    async def run(self, text: str, call: AgentCall) -> str:
        return f"{text} by {call.agent}"


class Adder:
    """An object that can be called."""

    async def __call__(self, numbers: list[int]) -> int:
        return sum(numbers)


@agent(type="triage")
async def classify(question: Question) -> Answer:
    """An agent by decorator."""
    return await answer(question)


@agent
def shout(text: str) -> str:
    """A body without await."""
    return text.upper()


async def nothing_in(call: AgentCall) -> str:
    """Takes no value."""
    return call.context.user


async def multiply(by: int, number: int) -> int:
    """For a partial."""
    return by * number


async def warm(reading: Reading) -> Reading:
    """Takes and gives a pydantic model."""
    return Reading(celsius=reading.celsius + 1)


class TestBodies:
    @pytest.mark.parametrize(
        ("made", "name", "given", "result"),
        [
            (Agent(answer), "answer", question("hi"), Answer("HI", 2)),
            (classify, "classify", question("hi"), Answer("HI", 2)),
            (classify, "classify", {"text": "hi", "tags": []}, Answer("HI", 2)),
            (shout, "shout", "hi", "HI"),
            (Agent(Translator()), "translator", "hi", "hi by translator"),
            (Agent(Adder(), name="adder"), "adder", (1, 2), 3),
            (Agent(nothing_in), "nothing_in", None, "ana"),
            (Agent(functools.partial(multiply, 3), name="triple"), "triple", 5, 15),
            (Agent(warm), "warm", {"celsius": 20}, Reading(celsius=21)),
        ],
        ids=lambda value: value.name if isinstance(value, Agent) else "",
    )
    async def test_a_function_or_an_object_is_called_with_what_it_takes(
        self, core: AgentExecutionCore, made: Agent, name: str, given: Any, result: Any
    ) -> None:
        assert made.name == name
        assert await core.execute(ANA, made, given) == result

    async def test_two_agents_never_share_a_value(self, core: AgentExecutionCore) -> None:
        kept: list[Question] = []

        async def keep(question: Question) -> Question:
            kept.append(question)
            return question

        mine = question()
        given = await core.execute(ANA, Agent(keep, takes=Question, gives=Question), mine)
        kept[0].tags.append("changed later")
        assert (mine.tags, given.tags) == (["a"], ["a"])

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (lambda a, b: None, "at most one value"),
            ("no function", "expected a name"),
            (object(), "expected a name"),
        ],
    )
    def test_what_is_no_body_is_refused(self, body: Any, words: str) -> None:
        with pytest.raises(InvalidDefinition, match=words):
            Agent(body, name="two" if callable(body) else None)

    def test_a_type_that_cannot_be_looked_up_is_refused_at_once(self) -> None:
        @dataclass
        class Hidden:
            text: str

        async def body(value: Hidden) -> str:
            return value.text

        with pytest.raises(InvalidDefinition, match="give takes= and gives="):
            Agent(body)
        assert Agent(body, takes=Hidden, gives=str).takes is Hidden

    @pytest.mark.parametrize("name", ["", "default", "none", "a/b", "x" * 201])
    def test_a_name_that_names_nothing_is_refused(self, name: str) -> None:
        with pytest.raises((InvalidInput, InvalidDefinition)):
            Agent(answer, name=name or " ")


class TestShapes:
    async def test_an_input_that_does_not_fit_calls_nothing(self, core: AgentExecutionCore) -> None:
        with pytest.raises(InvalidInput, match=r"input of agent classify.*tags"):
            await core.execute(ANA, classify, {"text": "hi"})
        assert core.look("classify") is None

    @pytest.mark.parametrize(
        ("gives", "result"),
        [
            (Answer, {"text": "hi"}),
            (int, "three"),
            (Reading, {"celsius": -300}),
            (list[str], ["a", 1]),
            (str, None),
            (Any, object()),
            (Any, float("nan")),
        ],
    )
    async def test_an_output_that_does_not_fit_is_a_typed_error(
        self, core: AgentExecutionCore, gives: Any, result: Any
    ) -> None:
        async def lies(_: Any) -> Any:
            return result

        with pytest.raises(InvalidOutput, match="output of agent liar") as caught:
            await core.execute(ANA, Agent(lies, name="liar", gives=gives))
        assert isinstance(caught.value, Rejected)
        assert caught.value.agent == "liar"

    async def test_an_agent_that_lies_again_and_again_is_ill(self, core: AgentExecutionCore) -> None:
        async def lies(_: Any) -> Any:
            return "three"

        liar = Agent(lies, name="liar", gives=int)
        for _ in range(3):
            with pytest.raises(InvalidOutput):
                await core.execute(ANA, liar)
        view = core.look("liar")
        assert view is not None
        assert view.breaker == "open"

    async def test_a_plain_function_that_returns_a_coroutine_is_told_so(self, core: AgentExecutionCore) -> None:
        with pytest.raises(InvalidOutput, match="coroutine"):
            await core.execute(ANA, Agent(lambda text: answer(text), name="wrong"), "hi")


class TestTypes:
    def test_every_shipped_type_opens_as_the_preset_for_agents_does(self) -> None:
        """And comes back as its objective asks for."""
        assert sorted(TYPES) == ["data", "general", "optimization", "supervisor", "triage"]
        for each in TYPES.values():
            assert each.breaker.failure_rate == preset("agent").failure_rate
            assert each.breaker.calls_min == preset("agent").calls_min
            assert each.breaker.open_max_s <= each.recovery_s

    def test_a_breaker_that_rests_longer_than_the_objective_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="at most as long as its recovery objective"):
            AgentType(name="lazy", breaker=preset("agent", open_max_s=30.0), recovery_s=10.0)

    def test_a_type_is_changed_by_name(self) -> None:
        assert AgentType.of("data", timeout_s=5.0).timeout_s == 5.0
        with pytest.raises(InvalidInput, match="expected one of general, triage"):
            AgentType.of("oracle")
        with pytest.raises(InvalidInput, match="no option patience_s"):
            AgentType.of("data", patience_s=5.0)

    @pytest.mark.parametrize(
        "change", [{"timeout_s": 0}, {"grace_s": -1}, {"lease_ttl_s": float("inf")}, {"places": 0}]
    )
    def test_times_that_mean_nothing_are_refused(self, change: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput):
            AgentType.of("general", **change)
