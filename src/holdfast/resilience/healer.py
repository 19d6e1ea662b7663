"""Who heals: holds open breakers back, and has them probed in the plan's order.

A dependency with a probe of its own is probed by it, one call after the other, until its breaker has decided. One
without is offered to the next caller: its breaker is let go, for as long as a round of probes lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from holdfast.clock import Clock
from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.resilience.breaker import CircuitBreaker
from holdfast.resilience.breaker.outcomes import SUCCESS
from holdfast.resilience.graph import Graph
from holdfast.resilience.healing import PROBING_MAX, ROUNDS_MAX, Ill, plan
from holdfast.resilience.rules import Breaker
from holdfast.tasks import Supervisor

LOOK_S = 60.0
"""How long to wait at most where nothing is due: a bound, for what moves says so."""
TURN = "waits for its turn to be probed"

log = get_logger("holdfast.resilience")


class Budget(Protocol):
    """Probes that several processes share. It answers at once from what it knows, and nudges when it knows more."""

    def elsewhere(self) -> Mapping[str, float]:
        """What another process probes now, and for how many seconds it may."""
        ...

    def resting(self) -> Mapping[str, float]:
        """What need not be probed here, for another process has just done so in vain; for how many seconds."""
        ...

    def ask(self, name: str) -> bool:
        """Whether `name` may be probed here now; if not, it is asked for."""
        ...

    def ended(self, name: str) -> None:
        """A round of probes of `name` that was asked for is over."""
        ...


class Alone:
    """The budget of a process that shares it with nobody."""

    def elsewhere(self) -> Mapping[str, float]:
        return {}

    def resting(self) -> Mapping[str, float]:
        return {}

    def ask(self, name: str) -> bool:
        return True

    def ended(self, name: str) -> None:
        return


class Patients(Protocol):
    """What the healer needs to know of the dependencies, and to tell them."""

    budget: Budget

    graph: Graph
    clock: Clock
    now: Callable[[], float]
    on_moved: Callable[[], None]

    def breaker(self, name: str) -> CircuitBreaker: ...

    def breakers(self) -> Mapping[str, Breaker]: ...

    def ill_since(self) -> Mapping[str, float]: ...

    def tell(self, kind: str, name: str, reason: str, now: float) -> None: ...


class Healer:
    """Heals until it is stopped, on the loop that started it."""

    def __init__(self, patients: Patients, *, probing_max: int = PROBING_MAX, rounds_max: int = ROUNDS_MAX) -> None:
        self._patients = patients
        self._probing_max = probing_max
        self._rounds_max = rounds_max
        self._tasks = Supervisor("holdfast.resilience", on_failure=self._failed)
        self._nudged = asyncio.Event()
        self._probing: set[str] = set()
        self._offered: dict[str, float] = {}
        self._in_vain: dict[str, int] = {}
        self._dormant: set[str] = set()
        self._late: set[str] = set()

    def start(self) -> None:
        """Begin, on the running loop."""
        loop = asyncio.get_running_loop()

        def nudge() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._nudged.set)

        self._patients.on_moved = nudge
        self._tasks.start(self._heal(), name="heal")

    async def stop(self) -> None:
        """End; breakers come back by themselves from now on."""
        self._patients.on_moved = lambda: None
        await self._tasks.stop()
        for name in self._patients.graph.order:
            if self._patients.breaker(name).held == TURN:
                self._patients.breaker(name).unhold()

    async def _heal(self) -> None:
        while True:
            self._nudged.clear()
            wait_s = self._round()
            sleeping = self._tasks.start(self._patients.clock.sleep(wait_s), name="next look")
            nudged = self._tasks.start(self._nudged.wait(), name="nudge")
            try:
                await asyncio.wait([sleeping, nudged], return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleeping.cancel()
                nudged.cancel()

    def _round(self) -> float:
        """Start the probes that are due; the seconds until the next may be."""
        patients, now = self._patients, self._patients.now()
        due_at = self._withdraw(now)
        breakers = dict(patients.breakers())
        elsewhere, resting = patients.budget.elsewhere(), patients.budget.resting()
        due_at += [now + left for left in elsewhere.values()]
        ill: dict[str, Ill] = {}
        for name in patients.graph.order:
            if breakers[name].state != "open":
                continue
            view = patients.breaker(name).look()
            left = max(view.retry_after_s or 0.0, resting.get(name, 0.0))
            ill[name] = Ill(left <= 0, view.attempt, self._in_vain.get(name, 0))
            if left > 0:
                due_at.append(now + left)
        others = elsewhere.keys() & ill.keys()
        for name in self._probing | self._offered.keys() | others:  # their places are taken, whatever is known of them
            breakers[name] = breakers[name]._replace(state="half_open")
        places = self._probing_max - len(elsewhere.keys() - others)
        planned = plan(patients.graph, breakers, ill, probing_max=places, rounds_max=self._rounds_max)
        for name in ill:
            breaker = patients.breaker(name)
            if name not in planned.blocked and name not in planned.probe and name not in self._offered:
                breaker.hold(TURN)
        for name in planned.probe:
            if patients.budget.ask(name):
                self._probe(name, now)
            else:
                patients.breaker(name).hold(TURN)
        self._tell_dormant(planned.dormant, now)
        due_at += self._tell_late(now)
        return max(0.0, min((at - now for at in due_at), default=LOOK_S))

    def _probe(self, name: str, now: float) -> None:
        if self._patients.graph.nodes[name].probe is None:
            self._offered[name] = now
            self._patients.breaker(name).unhold()
        else:
            self._probing.add(name)
            self._tasks.start(self._probe_until_decided(name), name=f"probe {name}")

    async def _probe_until_decided(self, name: str) -> None:
        """One probe after the other, until the breaker has closed or opened again."""
        breaker, probe = self._patients.breaker(name), self._patients.graph.nodes[name].probe
        assert probe is not None
        try:
            while (given := breaker.acquire_probe()) is not None:
                began = self._patients.now()
                try:
                    async with asyncio.timeout(breaker.options.probe_ttl_s):
                        await probe()
                except BaseException as error:
                    breaker.settle(given, breaker.classify(error), self._patients.now() - began)
                    if not isinstance(error, Exception):
                        raise
                else:
                    breaker.settle(given, SUCCESS, self._patients.now() - began)
        finally:
            self._probing.discard(name)
            self._patients.budget.ended(name)
            self._nudged.set()

    def _withdraw(self, now: float) -> list[float]:
        """Take back what was offered and is decided, or what nobody took in time; when to look at the others again."""
        ends = []
        for name, since in tuple(self._offered.items()):
            breaker = self._patients.breaker(name)
            view, ends_at = breaker.look(), since + breaker.options.probing_max_s
            is_under_way = view.state == "half_open" or (view.state == "open" and not view.retry_after_s)
            if is_under_way and (now < ends_at or not breaker.rest()):
                ends.append(max(ends_at, now + breaker.options.probe_ttl_s))
            else:
                del self._offered[name]
                self._patients.budget.ended(name)
                self._in_vain[name] = self._in_vain.get(name, 0) + 1 if is_under_way else 0
        return ends

    def _tell_dormant(self, names: tuple[str, ...], now: float) -> None:
        for name in names:
            if name not in self._dormant:
                rounds = self._patients.breaker(name).look().attempt - 1
                self._patients.tell("dormant", name, f"{rounds} rounds of probes failed: wake it by hand", now)
        self._dormant = set(names)

    def _tell_late(self, now: float) -> list[float]:
        """Tell once of each that was not back in time; when that will be for the others."""
        ends = []
        ill_since = self._patients.ill_since()
        for name, since in tuple(ill_since.items()):
            objective_s = self._patients.graph.nodes[name].objective_s
            if now < since + objective_s:
                ends.append(since + objective_s)
            elif name not in self._late:
                self._late.add(name)
                self._patients.tell("objective_missed", name, f"ill for {now - since:.1f} s of {objective_s:g}", now)
        self._late &= ill_since.keys()
        return ends

    def _failed(self, name: str, error: BaseException) -> None:
        problem = error.message if isinstance(error, HoldfastError) else repr(error)
        log.error("healing stopped: breakers come back by themselves", task=name, error=problem)
