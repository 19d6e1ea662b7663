"""The board: what an engine's breakers tell the other processes on its store, and hear from them.

No call waits for it. Breakers decide by themselves; what moved is posted behind them, and what others posted is
followed when it is heard of. While all is well nothing is written, and one record is read when somebody else commits.
Where the store is away, each process decides and probes alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from msgspec.structs import replace

from holdfast.errors import Conflict, HoldfastError
from holdfast.logs import get_logger
from holdfast.resilience.breaker import BreakerEvent, BreakerOptions, BreakerView, CircuitBreaker
from holdfast.resilience.breaker.machine import UNPROBED
from holdfast.resilience.breaker.rules import State
from holdfast.resilience.dependencies import Dependencies
from holdfast.resilience.graph import Dependency
from holdfast.resilience.healer import Alone
from holdfast.resilience.quorum import (
    FOLLOWS,
    Mine,
    Node,
    Statement,
    Turn,
    Word,
    advise,
    elsewhere,
    inherited,
    may_take,
    nodes_of,
    resting,
)
from holdfast.store.contract.records import ABSENT, Scope
from holdfast.store.servers.breaker import ServerBreaker, breakers_of
from holdfast.workflow.board.postings import BELL, LASTING, PROBES, SAYS, Postings, Standing, post, read_postings
from holdfast.workflow.process.ownership import Ownership, ProcessInfo
from holdfast.workflow.process.runtime import Runtime

LOOK_S = 0.5
"""The least seconds between two looks: what bounds how soon others follow."""
ANSWER_S = 2.0
"""How long the store has to answer before this process decides alone."""
RETRY_S = 1.0
FORGET_S = 3600.0
"""How long the last word of a dead process hangs there, for its successor and for people."""
PROBLEM = "breakers"

log = get_logger("holdfast.breakers")


class _Known(NamedTuple):
    """What was noted of one breaker when it moved last."""

    moved_at: float
    word: Word | None = None


class Board:
    """One engine's place at the board, and the budget of probes that its dependencies share with others'."""

    def __init__(
        self, runtime: Runtime, info: ProcessInfo, dependencies: Dependencies, problems: dict[str, str]
    ) -> None:
        self._runtime = runtime
        self._store = runtime.store
        self._me = info.id
        self._dependencies = dependencies
        self._problems = problems
        self._servers = {each.breaker.name: each for each in breakers_of(self._store)}
        """What the store itself calls: shown to others and ordered by people, and never opened by others' word."""
        nodes = (*nodes_of(dependencies.graph), *_nodes_of(self._servers, taken=dependencies.graph.nodes))
        self._said = Statement(info.id, info.host, info.pid, 0.0, nodes)
        self._known: dict[str, _Known] = {}
        self._postings = Postings()
        self._bell = ABSENT
        self._orders: dict[str, int] = {}
        self._wanted: set[str] = set()
        self._heeded: dict[str, float] = {}
        """Of when the failed round is whose number was taken over last."""
        self._taken: dict[str, float] = {}
        """What is probed here for all, and until when it may be."""
        self._outcomes: dict[str, Turn] = {}
        self._forget: dict[str, int] = {}
        self._ramps: dict[str, float] = {}
        """Until when what comes back ramps, where that is waited for."""
        self._nudged = asyncio.Event()
        self._turn = asyncio.Lock()
        self._silence: list[Callable[[], object]] = []
        self.is_away = False
        """Whether the store does not answer, so that this process decides alone."""

    async def begin(self) -> None:
        """Go on where a predecessor was, and keep the board from now on."""
        if await self._attend(self._read_first):
            self._inherit()
        loop = asyncio.get_running_loop()
        for node in self._said.nodes:
            self._silence.append(self._breaker(node.name).listen(lambda event: self._moved(loop, event)))
        self._dependencies.budget = self
        await self._attend(self._say)
        self._runtime.tasks.start(self._listen(), name="breakers of others")
        self._runtime.tasks.start(self._tell(), name="breakers told")

    async def end(self) -> None:
        """Have the last word, for a successor, and say no more."""
        self._dependencies.budget = Alone()
        for silence in self._silence:
            silence()
        if not self.is_away:
            await self._attend(self._say)

    # -- the budget of probes -----------------------------------------------------------------------------------

    def elsewhere(self) -> Mapping[str, float]:
        """What another process probes now, and for how many seconds it may."""
        if self._is_alone:
            return {}
        return elsewhere(self._postings.turns, self._me, self._living, now=self._store.now_s())

    def resting(self) -> Mapping[str, float]:
        """What was probed in vain just now, and for how many seconds it is left alone."""
        if self._is_alone:
            return {}
        seen = self._postings
        return resting(seen.turns, self._me, seen.statements, self._living, now=self._store.now_s())

    def ask(self, name: str) -> bool:
        """Whether `name` may be probed here now. Alone, it always may."""
        if self._is_alone or self._taken.get(name, 0.0) > self._store.now_s():
            return True
        self._wanted.add(name)
        self._nudged.set()
        return False

    def ended(self, name: str) -> None:
        """A round of probes is over: the others hear what came of it."""
        if self._taken.pop(name, None) is None:
            return
        view, now = self._dependencies.breaker(name).look(), self._store.now_s()
        if view.state == "closed":
            self._outcomes[name] = Turn(self._me, "closed", now, now)
        elif view.state == "open" and view.retry_after_s:
            self._outcomes[name] = Turn(self._me, "failed", now, now + view.retry_after_s, view.attempt)
        else:
            self._outcomes[name] = Turn(self._me, "idle", now, now)
        self._nudged.set()

    @property
    def _is_alone(self) -> bool:
        return self.is_away or self._dependencies.is_self_suspect

    @property
    def _living(self) -> frozenset[str]:
        return self._postings.living | {self._me}

    def _has(self, name: str) -> bool:
        return name in self._dependencies.graph.nodes or name in self._servers

    def _breaker(self, name: str) -> CircuitBreaker:
        if name in self._dependencies.graph.nodes:
            return self._dependencies.breaker(name)
        return self._servers[name].breaker

    # -- what moved here ----------------------------------------------------------------------------------------

    def _moved(self, loop: asyncio.AbstractEventLoop, event: BreakerEvent) -> None:
        """Note it, in whatever thread it moved."""
        if event.kind != "moved":
            return
        self._note(event.breaker, event.after, event.reason)
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._nudged.set)

    def _note(self, name: str, state: State, reason: str) -> None:
        now = self._store.now_s()
        known = self._known.get(name, _Known(0.0))
        breaker = self._breaker(name)
        view, before = breaker.look(), known.word
        if state == "closed":
            self._known[name] = _Known(now, _ramping(view, breaker.options, reason, now))
            return
        before = None if before is None or before.state == "closed" else before
        has_opened = state == "open" and reason != UNPROBED
        word = Word(
            state=state,
            reason=reason,
            opened_at=now if has_opened or before is None else before.opened_at,
            ill_since=now if before is None else before.ill_since,
            until=None if view.retry_after_s is None else now + view.retry_after_s,
            attempt=view.attempt,
            is_own=not reason.startswith(FOLLOWS) if has_opened or before is None else before.is_own,
            last_error=view.last_error,
        )
        self._known[name] = _Known(word.opened_at, word)

    # -- telling others -----------------------------------------------------------------------------------------

    async def _tell(self) -> None:
        while True:
            await self._nudged.wait()
            self._nudged.clear()
            self._wait_for_ramps()
            if not await self._attend(self._write):
                await self._runtime.clock.sleep(RETRY_S)
                self._nudged.set()

    async def _write(self) -> None:
        """Whatever is to be written now."""
        await self._say()
        for name, turn in tuple(self._outcomes.items()):
            held = self._postings.turns.get(name)
            if held is not None and held.holder == self._me and held.outcome == "probing":
                await self._post(
                    PROBES + name,
                    turn,
                    "breaker probed",
                    {"breaker": name, "outcome": turn.outcome, "process": self._me},
                )
            self._outcomes.pop(name, None)
        for name in sorted(self._wanted):
            await self._take(name)

    def _wait_for_ramps(self) -> None:
        """Have it said when a breaker that lets calls in by and by takes all of them again: nothing moves then."""
        now = self._store.now_s()
        for name, known in self._known.items():
            ends_at = known.word.until if known.word is not None and known.word.state == "closed" else None
            if ends_at is not None and ends_at > now and self._ramps.get(name) != ends_at:
                self._ramps[name] = ends_at
                self._runtime.tasks.start(self._nudge_in(ends_at - now), name=f"end of the ramp of {name}")

    async def _nudge_in(self, wait_s: float) -> None:
        await self._runtime.clock.sleep(wait_s)
        self._nudged.set()

    async def _say(self) -> None:
        is_suspect = self._dependencies.is_self_suspect
        now = self._store.now_s()
        words = {
            name: known.word
            for name, known in tuple(self._known.items())
            if known.word is not None and not known.word.is_over(now)
        }
        said = replace(
            self._said,
            at=now,
            words={} if is_suspect else words,
            is_self_suspect=is_suspect,
            orders=dict(self._orders),
        )
        if self._said.at and replace(said, at=self._said.at) == self._said:
            return
        moved: dict[str, str] = {
            name: word.state for name, word in said.words.items() if self._said.words.get(name) != word
        }
        moved |= dict.fromkeys(self._said.words.keys() - said.words.keys(), "closed")
        taken_up = {name: version for name, version in said.orders.items() if self._said.orders.get(name) != version}
        reasons = {name: said.words[name].reason for name in moved if name in said.words}
        facts: dict[str, Any] = {"process": self._me, "moved": moved, "reasons": reasons, "orders": taken_up}
        if is_suspect:
            facts["self_suspect"] = True
        if await self._post(SAYS + self._me, said, "breakers told", facts, forget=self._forget):
            self._said, self._forget = said, {}

    async def _take(self, name: str) -> None:
        """Take the turn to probe, unless another process has it."""
        self._wanted.discard(name)
        self._follow()  # somebody may have probed it, and it was well
        breaker = self._dependencies.breaker(name)
        if breaker.state != "open":
            return
        now, options = self._store.now_s(), breaker.options
        turn = self._postings.turns.get(name)
        if not may_take(turn, self._me, self._living, now=now):
            return  # the healer looks again when that turn is over
        until = now + max(options.probing_max_s, options.probes * options.probe_ttl_s)
        mine = Turn(self._me, "probing", now, until)
        if await self._post(PROBES + name, mine, "breaker probe begun", {"breaker": name, "process": self._me}):
            self._taken[name] = until
        self._dependencies.on_moved()  # to probe, or to wait for whoever was first

    async def _post(
        self, id: str, value: Statement | Turn, what: str, facts: dict[str, Any], **more: dict[str, int]
    ) -> bool:
        """Hang it up where what was read last still hangs; False, and all is read anew, where it does not."""
        expect = self._postings.versions.get(id, ABSENT)
        try:
            version = await post(
                self._store, self._runtime.change_id(), id, value, expect=expect, what=what, facts=facts, **more
            )
        except Conflict:
            self._postings, self._forget = await read_postings(self._store), {}
            self._nudged.set()
            return False
        turns = dict(self._postings.turns)
        if isinstance(value, Turn):
            turns[id.removeprefix(PROBES)] = value
        self._postings = self._postings._replace(versions={**self._postings.versions, id: version}, turns=turns)
        return True

    # -- hearing others -----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        tick = 0
        while True:
            try:
                tick = await self._store.wait(tick)
            except HoldfastError as error:
                self._lost(error)
                await self._runtime.clock.sleep(RETRY_S)
                continue
            await self._attend(self._look)
            await self._runtime.clock.sleep(LOOK_S)

    async def _look(self) -> None:
        """Read what is new, and act on it."""
        (bell,) = await self._store.read(Scope.system(), [BELL])
        version = ABSENT if bell is None else bell.version
        if version == self._bell and self._is_calm():
            return
        self._postings, self._bell = await read_postings(self._store), version
        for name, standing in self._postings.orders.items():
            if self._has(name) and standing.version > self._orders.get(name, 0):
                self._take_up(standing)
        self._follow()
        self._dependencies.on_moved()

    def _is_calm(self) -> bool:
        """Whether nothing that hangs there changes its meaning by time, or by a death."""
        seen = self._postings
        is_probed = any(turn.outcome == "probing" for turn in seen.turns.values())
        return not is_probed and not any(statement.words for statement in seen.statements.values())

    def _follow(self) -> None:
        if self._dependencies.is_self_suspect:
            return
        self._heed()
        seen, states = self._postings, self._dependencies.breakers()
        mine = {
            name: Mine(states[name].state, self._known.get(name, _Known(0.0)).moved_at)
            for name in self._dependencies.graph.order
        }
        for advice in advise(self._me, mine, seen.statements, seen.turns, self._living, now=self._store.now_s()):
            breaker = self._dependencies.breaker(advice.name)
            if advice.kind == "open":
                breaker.open(advice.reason, wait_s=advice.wait_s)
            else:
                breaker.close(advice.reason)

    def _heed(self) -> None:
        """Go on counting where others have come to: waits grow, and end in dormancy, by the rounds of all. Each is
        heeded once, so that who was woken stays awake."""
        for name, turn in self._postings.turns.items():
            is_news = turn.outcome == "failed" and turn.holder != self._me and turn.at > self._heeded.get(name, 0.0)
            if is_news and name in self._dependencies.graph.nodes:
                self._heeded[name] = turn.at
                self._breaker(name).heed(turn.attempt)

    def _take_up(self, standing: Standing) -> None:
        order = standing.order
        self._orders[order.name] = standing.version
        reason = f"{order.action} by {order.by}" + (f": {order.reason}" if order.reason else "")
        log.info("order taken up", breaker=order.name, action=order.action, by=order.by, reason=order.reason)
        breaker = self._breaker(order.name)
        if order.action == "wake":
            breaker.wake()
            self._dependencies.on_moved()
        elif order.action == "release":
            breaker.release(reason=reason)
        else:
            breaker.force(order.action, reason=reason)
        self._nudged.set()

    # -- where a predecessor was --------------------------------------------------------------------------------

    async def _read_first(self) -> None:
        self._postings = await read_postings(self._store)

    def _inherit(self) -> None:
        seen, now = self._postings, self._store.now_s()
        known = inherited(seen.statements, self._living, self._me, now=now, epoch_s=self._dependencies.clock.time_s())
        known = {name: each for name, each in known.items() if name in self._dependencies.graph.nodes}
        self._dependencies.restore({name: snapshot for name, (_, snapshot) in known.items()})
        for name, (word, snapshot) in known.items():
            self._known[name] = _Known(now, replace(word, state="open", until=now + snapshot.open_left_s))
        for name, standing in seen.orders.items():
            if self._has(name):
                self._orders[name] = standing.version
                if standing.order.action in LASTING:
                    self._take_up(standing)
                    view = self._breaker(name).look()
                    self._note(name, view.state, view.reason)
        self._forget = {
            SAYS + process: seen.versions[SAYS + process]
            for process, statement in seen.statements.items()
            if process not in self._living and statement.at < now - FORGET_S
        }

    # -- the store may be away ----------------------------------------------------------------------------------

    async def _attend(self, what: Callable[[], Awaitable[None]]) -> bool:
        """Do something at the store, one thing at a time; False where that could not be done."""
        try:
            async with self._turn, asyncio.timeout(ANSWER_S):
                await what()
        except Exception as error:  # nothing may end these tasks: without them others wait for our probes
            self._lost(error)
            return False
        self._found()
        return True

    def _lost(self, error: Exception) -> None:
        if not self.is_away:
            self.is_away = True
            problem = error.message if isinstance(error, HoldfastError) else repr(error)
            self._problems[PROBLEM] = f"not shared with other processes, each decides alone: {problem}"
            log.warning("breakers are not shared: this process decides alone", error=problem)
            self._dependencies.on_moved()

    def _found(self) -> None:
        if self.is_away:
            self.is_away = False
            self._problems.pop(PROBLEM, None)
            log.info("breakers are shared again")


async def open_board(
    runtime: Runtime,
    ownership: Ownership,
    dependencies: Dependencies | None,
    problems: dict[str, str],
    until: AsyncExitStack,
) -> None:
    """Begin an engine's board, where other processes can see it; it ends with `until`.

    Without dependencies there is something to say where the store has a server beside the one that it is said in.
    """
    if dependencies is None and len(breakers_of(runtime.store)) > 1:
        dependencies = Dependencies()
    if dependencies is not None and ownership.is_shared:
        board = Board(runtime, ownership.info, dependencies, problems)
        until.push_async_callback(board.end)
        await board.begin()


def _nodes_of(servers: Mapping[str, ServerBreaker], *, taken: Container[str]) -> Iterator[Node]:
    """What is stored of a store's servers. The first one carries the board, and so all orders."""
    for number, (name, server) in enumerate(servers.items()):
        if name not in taken:
            objective_s = Dependency(name=name, kind=server.kind).objective_s
            yield Node(name, server.kind, objective_s=objective_s, has_probe=True, carries_board=number == 0)


def _ramping(view: BreakerView, options: BreakerOptions, reason: str, now: float) -> Word | None:
    """What is said of a breaker that has closed: something while it does not take all of its calls."""
    if view.share >= 1:
        return None
    return Word("closed", reason, now, now, until=now + options.ramp_s, ramps_from=options.ramp_from)
