"""An agent, a model or a service that fails as it is told: always the same for the same seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from holdfast.clock import Clock, SystemClock, seeded_randomness
from holdfast.errors import InvalidInput

Trouble = Literal["fails", "slow", "hangs", "throttles", "breaks_off"]
A_YEAR_S = 365 * 86400.0


class AgentDown(ConnectionError):
    """What a call raises that fails, or a stream that breaks off."""


class AgentThrottled(Exception):
    """What a call raises that is turned away: `status_code` 429, and `retry_after_s`."""

    status_code = 429

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"429: too many requests, retry after {retry_after_s:g} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Spell:
    """A time in which calls go wrong.

    `trouble`: "fails" raises AgentDown, or what `error` makes; "slow" takes `takes_s` seconds; "hangs" never ends;
    "throttles" raises AgentThrottled with `retry_after_s`; "breaks_off" fails behind the first item of a stream, and a
    plain call at its end. It lasts from `from_s` up to `until_s` seconds after the agent was made, and strikes so many
    of the calls as `rate` says. Raises InvalidInput.

    Example: `Spell("fails", from_s=10, until_s=70)`, `Spell("slow", rate=0.2, takes_s=30)`.
    """

    trouble: Trouble
    from_s: float = 0.0
    until_s: float = math.inf
    rate: float = 1.0
    takes_s: float = 60.0
    retry_after_s: float = 30.0
    error: Callable[[], Exception] | None = None

    def __post_init__(self) -> None:
        if self.trouble not in get_args(Trouble):
            raise InvalidInput(f"spell: expected one of {', '.join(get_args(Trouble))}, saw {self.trouble!r}")
        if not 0 <= self.from_s < self.until_s:
            raise InvalidInput(f"spell: expected from_s below until_s, saw {self.from_s:g} and {self.until_s:g}")
        if not 0 <= self.rate <= 1:
            raise InvalidInput(f"spell: expected a rate from 0 to 1, saw {self.rate!r}")


class AgentCall(NamedTuple):
    """One call: when it began, in seconds after the agent was made, and what became of it: "well" or its trouble."""

    at_s: float
    became: str


class FailingAgent:
    """Something to call that goes wrong by its spells; of several that strike, the first one counts.

    `answer` is what a call gives, or a function of the call's arguments; `items` what a stream gives. Each takes
    `latency_s` seconds of `clock`, which may be a lab's. `calls` are those made, `counts` what became of them.

    Example::

        model = FailingAgent(Spell("fails", from_s=0, until_s=60), clock=lab.clock, answer="restart the pod")
        answer = await dependencies.on("llm").call(model, "why?")
    """

    def __init__(
        self,
        *spells: Spell,
        clock: Clock | None = None,
        seed: int = 0,
        answer: Any = "done",
        items: Sequence[Any] = ("one", "two", "three"),
        latency_s: float = 0.0,
    ) -> None:
        self.spells = list(spells)
        self.calls: list[AgentCall] = []
        self.counts: Counter[str] = Counter()
        self._clock = clock or SystemClock()
        self._chance = seeded_randomness(seed)
        self._answer = answer
        self._items = items
        self._latency_s = latency_s
        self._made_at = self._clock.time_s()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The answer, unless a spell strikes."""
        if (spell := await self._begun()) is not None:
            raise _error(spell)
        return self._answer(*args, **kwargs) if callable(self._answer) else self._answer

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """The items, one by one, unless a spell strikes."""
        spell = await self._begun()
        if spell is not None and spell.trouble != "breaks_off":
            raise _error(spell)
        for item in self._items:
            yield item
            if spell is not None:
                raise _error(spell)

    async def _begun(self) -> Spell | None:
        """Take the time that the call takes; the spell whose error it ends with."""
        at_s = self._clock.time_s() - self._made_at
        spell = next((each for each in self.spells if self._strikes(each, at_s)), None)
        self.calls.append(AgentCall(at_s, spell.trouble if spell else "well"))
        self.counts[self.calls[-1].became] += 1
        while spell is not None and spell.trouble == "hangs":
            await self._clock.sleep(A_YEAR_S)
        if spell is not None and spell.trouble == "slow":
            await self._clock.sleep(spell.takes_s)
            return None
        if self._latency_s > 0:
            await self._clock.sleep(self._latency_s)
        return spell

    def _strikes(self, spell: Spell, at_s: float) -> bool:
        return spell.from_s <= at_s < spell.until_s and self._chance.random() < spell.rate

    def __repr__(self) -> str:
        return f"FailingAgent({len(self.calls)} calls, {self.counts['well']} well)"


def _error(spell: Spell) -> Exception:
    if spell.error is not None:
        return spell.error()
    if spell.trouble == "throttles":
        return AgentThrottled(spell.retry_after_s)
    return AgentDown("the agent broke off" if spell.trouble == "breaks_off" else "the agent is down")
