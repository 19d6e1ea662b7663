"""A body is begun, watched, ended in time and, where it will not end, left behind where it can do no harm.

The body runs in a task or thread of its own, so that who waits for it goes on in time whatever it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Callable
from typing import Any, NamedTuple

from holdfast.agents.agent import Agent
from holdfast.agents.call import AgentCall
from holdfast.agents.post import Post
from holdfast.agents.rules import State, Why, ends
from holdfast.agents.running import Running
from holdfast.agents.threads import DaemonThreads, named_thread
from holdfast.agents.watchdog import Blocked, Watchdog
from holdfast.context import UserExecutionContext
from holdfast.errors import DeadlineExceeded, ErrorType, Unavailable, WorkflowError
from holdfast.logs import get_logger
from holdfast.tasks import Supervisor

CLOSE_GRACE_S = 5.0
"""How long a core that is closed waits for its calls to end."""
_GRAVE: frozenset[State] = frozenset({"dead", "thread-stuck", "loop-blocked"})

log = get_logger("holdfast.agents")


class AgentDead(Unavailable):
    """An agent gave no sign of life within its lease, or blocked the loop for too long: its call was fenced off.
    `agent` names it, `state` says how it was, `where` in which function."""


class Trouble(NamedTuple):
    """Something that is wrong with one call: for whoever looks after the process, not for its user. `agent` and `call`
    are "" where a loop is blocked by something that is no agent's."""

    agent: str
    call: str
    state: State
    where: str
    stack: str


class Supervision:
    """Looks after the bodies of one core. On one loop."""

    def __init__(
        self,
        tasks: Supervisor,
        *,
        on_trouble: Callable[[Trouble], None] | None,
        threads_max: int,
        watchdog: Callable[[Callable[[Blocked], None]], Watchdog] | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = tasks
        self._on_trouble = on_trouble
        self._threads = DaemonThreads("holdfast-agent", threads_max=threads_max)
        self._by_work: dict[asyncio.Future[Any], tuple[Post, Running]] = {}
        self._watchdog = None if watchdog is None else watchdog(self._blocked)

    def blocked_s(self) -> float:
        """How long the loop has been blocked, all in all."""
        return 0.0 if self._watchdog is None else self._watchdog.blocked_s()

    async def run(self, post: Post, agent: Agent, call: AgentCall, taken: object) -> Any:
        """What the body gives. Raises what it raised; DeadlineExceeded or AgentDead where it was given up."""
        running = self._begin(agent, call, taken)
        post.running[call.token] = running
        self._by_work[running.work] = (post, running)
        if self._watchdog is not None:
            self._watchdog.enter()
        try:
            why = await self._until_over(running)
            if why is not None:
                raise await self._given_up(post, running, agent, why)
            return _result_of(running)
        except asyncio.CancelledError:
            if not running.work.done() and not call.is_ending:
                await self._end(post, running, agent)
            raise
        finally:
            if self._watchdog is not None:
                self._watchdog.leave()
            del post.running[call.token]
            if running.work.done():
                self._by_work.pop(running.work, None)
                _heard(running.work)

    def give_up(self, whose: Callable[[UserExecutionContext], bool], *, why: str) -> int:
        """Fence off and end all calls whose context `whose` says yes to. How many these are."""
        found = [running for _, running in self._by_work.values() if whose(running.call.context)]
        for running in found:
            running.call.fence(why)
            running.wake()
        return len(found)

    async def close(self) -> None:
        """Give all up; what has not ended after a grace is left behind."""
        self.give_up(lambda context: True, why="the core was closed")
        if waited := [running.work for _, running in self._by_work.values() if not running.call.is_ending]:
            await asyncio.wait(waited, timeout=CLOSE_GRACE_S)
        for work in list(self._by_work):
            work.cancel()
            _let_the_loop_forget(work)
        self._threads.shutdown()
        if self._watchdog is not None:
            self._watchdog.stop()

    def _begin(self, agent: Agent, call: AgentCall, taken: object) -> Running:
        entry = agent.bind(taken, call)
        blocked_s = self.blocked_s()
        if agent.is_async:
            bodies: list[Any] = []
            task = self._tasks.start(_contained(entry, call, bodies), name=call.id)
            return Running(call, task, bodies, blocked_at_start_s=blocked_s)

        def tell(thread_id: int | None) -> None:
            call.thread_id = thread_id

        job = named_thread(tell, lambda: _contained_sync(entry, call))
        future = self._loop.run_in_executor(self._threads, contextvars.copy_context().run, job)
        return Running(call, future, blocked_at_start_s=blocked_s)

    async def _until_over(self, running: Running) -> Why | None:
        """None once it is done; the reason once it is given up."""
        while True:
            if running.call.is_fenced:
                return "blocked" if running.is_overdue else "given_up"
            if running.work.done():
                return None
            over_at, why = ends(running.times(self.blocked_s()))
            left_s = over_at - self._loop.time()
            if left_s <= 0:
                return why
            await running.rest(left_s)

    async def _given_up(self, post: Post, running: Running, agent: Agent, why: Why) -> Exception:
        """End it; the error that tells its caller."""
        place = running.place if why == "blocked" else running.look()
        now, times = self._loop.time(), running.call.times(0.0)
        over_s = now - (times.sign_at if why == "silence" else times.began_at)
        is_deaf = await self._end(post, running, agent)
        state: State = "slow"
        if why == "blocked":
            state = "loop-blocked"
        elif is_deaf or why == "silence":
            state = "thread-stuck" if running.in_thread and is_deaf else "dead"
        post.dead += state in _GRAVE
        if state in _GRAVE and why != "blocked":  # which was reported while it lasted
            self._report(Trouble(agent.name, running.call.id, state, place.where, place.stack))
        what, at = f"agent {agent.name}", f", in {place.where}" if place.where else ""
        facts = {"agent": agent.name, "call": running.call.id, "state": state, "where": place.where, "why": why}
        if why == "given_up":
            return Unavailable(f"{what}: it was given up: {running.call.fenced_by}", **facts)
        if why == "blocked":
            return AgentDead(f"{what}: it let nothing else run, for {over_s:.1f} s{at}; it was fenced off", **facts)
        if why == "silence":
            return AgentDead(f"{what}: no sign of life for {over_s:.1f} s ({state}{at}); it was fenced off", **facts)
        return DeadlineExceeded(f"{what}: not done within {over_s:.3f} s ({state}{at})", what=what, **facts)

    async def _end(self, post: Post, running: Running, agent: Agent) -> bool:
        """Cancel, grace, fence off. Whether it was deaf to that: a coroutine that swallows its cancellation is closed,
        and what goes on even so is left behind. Whoever is cancelled while he waits here leaves it behind at once."""
        call, work = running.call, running.work
        call.end()
        pause_s = agent.type.grace_s / 2
        try:
            for _ in range(2):
                if not running.in_thread:
                    work.cancel()
                await running.rest(pause_s)
                if work.done():
                    return False
            if not running.in_thread:
                _close(running.bodies)
                work.cancel()  # wakes the task: it finds its body closed, or goes on with it
                await running.rest(pause_s)
            return True
        finally:
            call.fence("its time was over")
            if not work.done():
                self._leave_behind(post, running, agent)

    def _leave_behind(self, post: Post, running: Running, agent: Agent) -> None:
        token = running.call.token
        post.strays[token] = running
        if running.in_thread:
            self._threads.write_off()
        try:
            post.recycled += agent.recycle()
        except Exception as error:
            log.error("an agent could not be recycled", agent=agent.name, error=repr(error))
        place = running.look()
        log.error(
            "a call was left behind", agent=agent.name, call=running.call.id, where=place.where, stack=place.stack
        )

        def came_back(work: asyncio.Future[Any]) -> None:
            post.strays.pop(token, None)
            self._by_work.pop(work, None)
            post.late += 1
            if running.in_thread:
                self._threads.take_back()
            _heard(work)

        running.work.add_done_callback(came_back)

    def _blocked(self, blocked: Blocked) -> None:
        """The loop stands still. In the watchdog's thread."""
        found = None if blocked.task is None else self._by_work.get(blocked.task)
        name = call = ""
        if found is not None:
            post, running = found
            name, call = post.name, running.call.id
            running.place = blocked.place
            running.is_blocking = running.has_blocked = True
            if blocked.is_over:
                running.is_overdue = True
                running.call.fence(f"it blocked the loop for {blocked.for_s:.1f} s")
            else:
                post.blocks += 1
            self._loop.call_soon_threadsafe(_goes_on, running)
        self._report(Trouble(name, call, "loop-blocked", blocked.place.where, blocked.place.stack))

    def _report(self, trouble: Trouble) -> None:
        log.error("agent in trouble", **trouble._asdict())
        if self._on_trouble is not None:
            try:
                self._on_trouble(trouble)
            except Exception as error:
                log.error("a listener for trouble raised", error=repr(error))

    def __repr__(self) -> str:
        return f"Supervision({len(self._by_work)} bodies, {self._threads!r})"


def _goes_on(running: Running) -> None:
    """The loop runs again."""
    running.is_blocking = False
    running.wake()


async def _contained(entry: Callable[[], Any], call: AgentCall, bodies: list[Any]) -> Any:
    """The body, of which nothing gets out that would end the whole program. It is made here, so that one that is
    cancelled before it began was never made."""
    try:
        bodies.append(entry())
        return await bodies[0]
    except SystemExit as error:
        raise _no_exit(call, error) from error


def _contained_sync(entry: Callable[[], Any], call: AgentCall) -> Any:
    try:
        return entry()
    except (SystemExit, StopIteration) as error:  # a future cannot hold the latter: its waiter would wait for ever
        raise _no_exit(call, error) from error


def _no_exit(call: AgentCall, error: BaseException) -> WorkflowError:
    return WorkflowError(
        f"agent {call.agent}: raised {error!r}, which an agent may not; return, or raise an error of your own",
        error_type=ErrorType.PERMANENT,
    )


def _result_of(running: Running) -> Any:
    running.call.check_fence()
    if running.work.cancelled():  # by itself: whoever waits for it must hear of it, and was not cancelled
        raise WorkflowError(f"agent {running.call.agent}: waited for something that was cancelled")
    return running.work.result()


def _close(bodies: list[Any]) -> None:
    """End a coroutine where it is suspended, by GeneratorExit, which only `except BaseException` swallows."""
    for body in bodies:
        with contextlib.suppress(RuntimeError, ValueError):  # it swallowed it
            body.close()


def _let_the_loop_forget(work: asyncio.Future[Any]) -> None:
    """`asyncio.run` waits for all tasks that it knows before it returns: for one that is deaf, for ever."""
    if isinstance(work, asyncio.Task):
        asyncio.tasks._unregister_task(work)
        work._log_destroy_pending = False  # type: ignore[attr-defined]


def _heard(work: asyncio.Future[Any]) -> None:
    """Its error, if any, was told or is refused: asyncio need not complain of it."""
    if not work.cancelled():
        work.exception()
