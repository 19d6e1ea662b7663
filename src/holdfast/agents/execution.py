"""One agent's call, from its admission to its last event: deadline, places, breaker, budget, events, error
boundary."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Self

from holdfast.agents.agent import Agent
from holdfast.agents.call import AgentCall, Tools
from holdfast.agents.events import AgentEvent, Delivery, Emit, Outbox, to_the_log
from holdfast.agents.post import AgentView, Post
from holdfast.agents.rules import Times
from holdfast.agents.shape import InvalidOutput
from holdfast.agents.supervision import AgentDead, Supervision, Trouble
from holdfast.agents.watchdog import Watchdog
from holdfast.clock import Clock, Randomness, SystemClock
from holdfast.context import UserExecutionContext, require_context
from holdfast.errors import DeadlineExceeded, InvalidInput, Unavailable
from holdfast.resilience.breaker.outcomes import FAILURE, IGNORED, SUCCESS, Outcome
from holdfast.resilience.healing import Class
from holdfast.resilience.traffic import Deadline
from holdfast.resilience.traffic.guard import FAIR_SHARE
from holdfast.tasks import Supervisor

POSTS_MAX = 10_000
"""How many agents one core remembers; of more, one that is idle and was not called for longest is forgotten."""
THREADS_MAX = 32
MESSAGE_CHARS_MAX = 500
STOP_GRACE_S = 1.0


class AgentExecutionCore:
    """Carries agents' calls out, each with a deadline, a breaker, places and an error boundary of its own.

    For one loop, as a block: `async with AgentExecutionCore() as core`. `fallback` takes the events that their
    receiver does not. `on_trouble` hears of blocked loops, stuck threads and dead calls, sometimes from another
    thread. `beat_s`, `lag_max_s`, `block_max_s` (seconds): a loop whose heartbeat is so late is blocked, and who
    blocks it for so long is fenced off; `watches_loop=False` does without that, for simulated loops.

    Example::

        async with AgentExecutionCore() as core:
            finding = await core.execute(context, triage, {"text": "the shop is slow"})
    """

    def __init__(
        self,
        *,
        fallback: Callable[[AgentEvent], None] = to_the_log,
        on_trouble: Callable[[Trouble], None] | None = None,
        threads_max: int = THREADS_MAX,
        watches_loop: bool = True,
        beat_s: float = 0.1,
        lag_max_s: float = 0.5,
        block_max_s: float = 5.0,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        watchdog = functools.partial(Watchdog, beat_s=beat_s, lag_max_s=lag_max_s, block_max_s=block_max_s)
        self._watchdog = watchdog if watches_loop else None
        self._fallback = fallback
        self._on_trouble = on_trouble
        self._threads_max = threads_max
        self._clock = clock or SystemClock()
        self._randomness = randomness
        self._posts: OrderedDict[str, Post] = OrderedDict()
        # Larger than the tokens of processes before this one, as those of locks are, and below what JSON keeps exactly.
        self._tokens = itertools.count(int(self._clock.time_s() * 1_000_000))
        self.delivery = Delivery()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_spent = False

    async def __aenter__(self) -> Self:
        if self._is_spent:
            raise Unavailable("agent core: expected to be entered once, saw it entered again; make another one")
        self._is_spent = True
        self._loop = asyncio.get_running_loop()
        self._tasks = Supervisor("agents", on_failure=_is_its_callers)
        self._supervision = Supervision(
            self._tasks, on_trouble=self._on_trouble, threads_max=self._threads_max, watchdog=self._watchdog
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all calls. What does not end within seconds is left behind, fenced off."""
        self._loop = None
        await self._supervision.close()
        await self._tasks.stop(grace_s=STOP_GRACE_S)

    async def execute(
        self,
        context: UserExecutionContext,
        agent: Agent,
        value: object = None,
        *,
        emit: Emit | None = None,
        tools: Tools | None = None,
        timeout_s: float | None = None,
        load: Class = "people",
        key: str = "",
    ) -> Any:
        """What the agent gives for `value`, on behalf of `context`.

        Ends within the context's deadline, `timeout_s` and the agent's own times, and a grace. Events go to `emit`, in
        order. Raises WrongContext; InvalidInput and InvalidOutput; BulkheadFull, BreakerOpen or Unavailable where it
        was not called; DeadlineExceeded; AgentDead; and what the agent raised.
        """
        context = require_context(context)
        if not isinstance(agent, Agent):
            raise InvalidInput(
                f"agent core: expected an Agent, saw {type(agent).__name__}; wrap it: Agent(body, name=...)"
            )
        loop = self._running_loop()
        taken = agent.fit_input(value)
        post = self._post(agent)
        post.refuse_if_stuck()
        limit_s = agent.type.timeout_s if timeout_s is None else min(timeout_s, agent.type.timeout_s)
        waits_s = min(limit_s, self._left_s(context))
        user = f"{context.tenant}/{context.user}"
        async with post.bulkhead.place(user=user, load=load, deadline=Deadline(waits_s, clock=loop.time)):
            given = post.breaker.acquire()
            began_at = loop.time()
            try:
                outbox = self.outbox(emit)
                call = self.begin_call(
                    context, agent.name, outbox, timeout_s=limit_s, lease_s=agent.type.lease_s, tools=tools, key=key
                )
                call.spend(calls=1)
            except BaseException:
                post.breaker.settle(given, IGNORED, 0.0)
                raise
            post.calls += 1
            try:
                result = await self._told(post, agent, call, taken)
            except BaseException as error:
                outcome = _outcome(post, error, call)
                post.settled(given, outcome, loop.time() - began_at, is_success=False)
                raise
            post.settled(given, SUCCESS, loop.time() - began_at, is_success=True)
            return result

    def look(self, name: str) -> AgentView | None:
        """How the agent `name` is doing; None where it was not called lately. For whoever looks after the process."""
        post = self._posts.get(name)
        return None if post is None else post.look(self._supervision.blocked_s())

    def agents(self) -> list[AgentView]:
        """How all agents are doing that were called lately, by name."""
        blocked_s = self._supervision.blocked_s()
        return [post.look(blocked_s) for _, post in sorted(self._posts.items())]

    def give_up(self, whose: Callable[[UserExecutionContext], bool], *, why: str) -> int:
        """Fence off and end all calls whose context `whose` says yes to, such as those of a user who is removed; how
        many these are. Their callers get Unavailable with `why`."""
        self._running_loop()
        return self._supervision.give_up(whose, why=why)

    def outbox(self, emit: Emit | None) -> Outbox:
        """A way for events, with the fallback and the record of this core."""
        self._running_loop()
        return Outbox(emit, self._fallback, self.delivery, self._tasks)

    def begin_call(
        self,
        context: UserExecutionContext,
        name: str,
        outbox: Outbox,
        *,
        timeout_s: float,
        lease_s: float | None = None,
        tools: Tools | None = None,
        key: str = "",
    ) -> AgentCall:
        """A call with a token of its own, for an agent or something that tells of itself as agents do."""
        now = self._running_loop().time()
        left_s = self._left_s(context)
        return AgentCall(
            agent=name,
            context=context,
            token=next(self._tokens),
            times=Times(now, now, timeout_s, timeout_s if lease_s is None else lease_s, now + left_s),
            outbox=outbox,
            clock=self._clock,
            tools=tools,
            key=key,
        )

    # -- the inside ---------------------------------------------------------------------------------------------

    async def _told(self, post: Post, agent: Agent, call: AgentCall, taken: object) -> Any:
        """The fitted result, with the first event before it and the last one behind it."""
        assert self._loop is not None
        now = self._loop.time
        began_at = now()
        call.tell("started", {"type": agent.type.name})
        try:
            result = agent.fit_output(await self._supervision.run(post, agent, call, taken))
        except BaseException as error:
            call.fence(f"it ended with {type(error).__name__}")
            call.tell("failed", {**_facts_of(error), "took_s": now() - began_at})
            await call.drain()
            raise
        call.fence("it finished")
        call.tell("finished", {"took_s": now() - began_at})
        await call.drain()
        return result

    def _left_s(self, context: UserExecutionContext) -> float:
        return math.inf if context.deadline_s is None else context.deadline_s - self._clock.time_s()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            raise Unavailable("agent core: expected to be entered in this loop; use `async with AgentExecutionCore()`")
        return loop

    def _post(self, agent: Agent) -> Post:
        post = self._posts.get(agent.name)
        if post is None:
            while len(self._posts) >= POSTS_MAX:
                idle = next((name for name, each in self._posts.items() if each.is_idle), next(iter(self._posts)))
                del self._posts[idle]
            post = self._posts[agent.name] = Post(
                agent.name, agent.type, now=self._running_loop().time, randomness=self._randomness
            )
        self._posts.move_to_end(agent.name)
        return post

    def __repr__(self) -> str:
        running = sum(len(post.running) for post in self._posts.values())
        return f"AgentExecutionCore(agents={len(self._posts)}, running={running})"


def _facts_of(error: BaseException) -> dict[str, Any]:
    facts = {"error": type(error).__name__, "message": str(error)[:MESSAGE_CHARS_MAX]}
    told = error.facts if isinstance(error, AgentDead | DeadlineExceeded) else {}
    return facts | {name: told[name] for name in ("state", "where") if told.get(name)}


def _outcome(post: Post, error: BaseException, call: AgentCall) -> Outcome:
    """What the end of a call says of its agent: nothing, where its caller had been in a hurry."""
    if isinstance(error, InvalidOutput):
        return FAILURE
    if isinstance(error, DeadlineExceeded) and error.facts.get("why") == "deadline":
        times = call.times(0.0)
        if times.hard_at - times.began_at < FAIR_SHARE * times.timeout_s:
            return IGNORED
    return post.breaker.classify(error)


def _is_its_callers(name: str, error: BaseException) -> None:
    """What a body raises is told to whoever called it."""
