"""What a core knows of one agent: its breaker and places, its calls under way, those it had to leave behind, its
record.

By name, because that is what is ill or well: two users who each have an agent of this name call the same thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from holdfast.agents.agent_type import AgentType
from holdfast.agents.rules import State, state_of, worst
from holdfast.agents.running import Running
from holdfast.clock import Randomness
from holdfast.errors import Unavailable
from holdfast.resilience import BreakerEvent, CircuitBreaker
from holdfast.resilience.breaker.machine import Pass
from holdfast.resilience.breaker.outcomes import Outcome
from holdfast.resilience.traffic import Bulkhead

STRAYS_MAX = 4
"""How many calls of one agent may have been left behind and still go on; beyond that it is not called."""


class AgentView(NamedTuple):
    """One agent at one moment. `state`: the gravest of its calls'; `where`: the function in which that one stands.

    `strays`: calls that were left behind and still go on; `late`: those of which something came after their fence,
    which was refused; `recovered_s_max`: the longest that it took from the last moment at which it was known to be ill
    (its breaker opened, or a probe failed) to the next call that went well, None where that never happened;
    `keeps_objective`: whether that was within its type's `recovery_s`.
    """

    name: str
    type: str
    state: State
    where: str
    breaker: str
    running: int
    waiting: int
    strays: int
    calls: int
    finished: int
    failed: int
    dead: int
    late: int
    blocks: int
    recycled: int
    recovered_s_max: float | None
    keeps_objective: bool


class Post:
    """One agent's place in a core."""

    def __init__(
        self, name: str, type: AgentType, *, now: Callable[[], float], randomness: Randomness | None = None
    ) -> None:
        self.name = name
        self.type = type
        self._now = now
        self.breaker = CircuitBreaker(name, type.breaker, clock=now, randomness=randomness)
        self.bulkhead = Bulkhead(name, places=type.places, queue_max=type.queue_max, clock=now)
        self.running: dict[int, Running] = {}
        self.strays: dict[int, Running] = {}
        self.calls = self.finished = self.failed = self.dead = self.late = self.blocks = self.recycled = 0
        self._down_since: float | None = None
        self._recovered_s_max: float | None = None
        self.breaker.listen(self._moved)

    @property
    def is_idle(self) -> bool:
        """Whether forgetting it loses nothing that protects anybody."""
        return not self.running and not self.strays and not self.breaker.is_shut and not self.bulkhead.look().waiting

    def refuse_if_stuck(self) -> None:
        """Raises Unavailable where too many of its calls were left behind and still go on."""
        if len(self.strays) >= STRAYS_MAX:
            where = sorted({stray.look().where or "an unknown place" for stray in self.strays.values()})
            raise Unavailable(
                f"agent {self.name}: {len(self.strays)} calls that were given up have not ended, "
                f"in {', '.join(where)}; it is not called until one does: make it end when cancelled, "
                "or restart the process",
                agent=self.name,
                strays=len(self.strays),
            )

    def settled(self, given: Pass, outcome: Outcome, took_s: float, *, is_success: bool) -> None:
        """The end of a call, for its breaker and record."""
        self.breaker.settle(given, outcome, took_s)
        if is_success:
            self.finished += 1
            if self._down_since is not None:
                recovered_s = self._now() - self._down_since
                self._recovered_s_max = max(recovered_s, self._recovered_s_max or 0.0)
                self._down_since = None
        else:
            self.failed += 1

    def state(self, running: Running, blocked_s: float) -> State:
        """How one of its calls is doing. `blocked_s`: how long the loop was blocked, all in all."""
        return state_of(
            running.times(blocked_s),
            now=self._now(),
            slow_s=self.type.slow_s,
            grace_s=self.type.grace_s,
            is_blocking=running.is_blocking,
            in_thread=running.in_thread,
        )

    def look(self, blocked_s: float) -> AgentView:
        """The agent now. `blocked_s`: the loop's, all in all."""
        each = [*self.strays.values(), *self.running.values()]
        states = [self.state(one, blocked_s) for one in each]
        state = worst(states)
        where = each[states.index(state)].look().where if state != "alive" else ""
        return AgentView(
            name=self.name,
            type=self.type.name,
            state=state,
            where=where,
            breaker=self.breaker.state,
            running=len(self.running),
            waiting=self.bulkhead.look().waiting,
            strays=len(self.strays),
            calls=self.calls,
            finished=self.finished,
            failed=self.failed,
            dead=self.dead,
            late=self.late,
            blocks=self.blocks,
            recycled=self.recycled,
            recovered_s_max=self._recovered_s_max,
            keeps_objective=(self._recovered_s_max or 0.0) <= self.type.recovery_s,
        )

    def _moved(self, event: BreakerEvent) -> None:
        if event.kind == "moved" and event.after == "open":
            self._down_since = self._now()

    def __repr__(self) -> str:
        return f"Post({self.name!r}, running={len(self.running)}, strays={len(self.strays)})"
