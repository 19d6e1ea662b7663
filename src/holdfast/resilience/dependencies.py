"""All dependencies of a program: a breaker each, the graph over them, and somebody who heals them in order.

The breakers decide by themselves and at once; while all are well, a call costs one look more than its breaker. Entered
as a context, `Dependencies` also heals: it holds open breakers back and lets them be probed in the plan's order. Not
entered, each breaker comes back by itself, though none before what it needs.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, ParamSpec, Self, TypeVar

from holdfast.clock import Clock, Randomness, SystemClock, monotonic_s, system_randomness, system_time_s
from holdfast.errors import BreakerOpen
from holdfast.logs import get_logger
from holdfast.resilience.blame import blaming
from holdfast.resilience.breaker import BreakerEvent, BreakerSnapshot, BreakerView, CircuitBreaker
from holdfast.resilience.breaker.machine import Forced
from holdfast.resilience.graph import Dependency, Graph
from holdfast.resilience.healer import Alone, Budget, Healer
from holdfast.resilience.healing import PROBING_MAX, ROUNDS_MAX, Class, Recovery, admits, share_of_way
from holdfast.resilience.rules import (
    INCIDENT_S,
    Breaker,
    Incident,
    Standing,
    blocked_by,
    incidents,
    is_down,
    standings,
    suspects_itself,
)

P = ParamSpec("P")
T = TypeVar("T")
OPENINGS_MAX = 1000
BLOCKED = "blocked by "

log = get_logger("holdfast.resilience")


class DependencyEvent(NamedTuple):
    """Something about a dependency that people may want to hear of. `at_s`: monotonic seconds.

    "ill": its breaker opened; "recovered": it is closed again; "objective_missed": it was not back within its recovery
    time objective; "dormant": it failed so often that only people wake it; "self_suspect": so much is ill that it is
    likelier this process.
    """

    kind: Literal["ill", "recovered", "objective_missed", "dormant", "self_suspect"]
    name: str
    reason: str
    at_s: float


class DependencyView(NamedTuple):
    """A dependency at one moment: what it is, how it stands, its breaker, for how many seconds it has been ill, and how
    it came back last."""

    dependency: Dependency
    standing: Standing
    breaker: BreakerView
    ill_for_s: float | None
    last: Recovery | None


Listener = Callable[[DependencyEvent], None]


class Door:
    """The way to one dependency, for calls of one class."""

    def __init__(self, dependencies: Dependencies, name: str, load: Class) -> None:
        self._dependencies = dependencies
        self._load = load
        self.name = name
        self.breaker = dependencies.breaker(name)

    async def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `await function(*args, **kwargs)` gives. Raises BreakerOpen without calling it where it cannot succeed,
        or where calls of this class must wait."""
        if not self._dependencies.is_all_well:
            self._dependencies.refuse(self.name, self._load)
        return await self.breaker.call(function, *args, **kwargs)

    async def call_or(
        self,
        fallback: Callable[[Exception], Awaitable[T]],
        function: Callable[P, Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """The same, for what is only wanted: what `fallback` makes of the refusal or failure, where there is one."""
        try:
            return await self.call(function, *args, **kwargs)
        except Exception as error:
            return await fallback(error)

    def __repr__(self) -> str:
        return f"Door({self.name!r}, {self._load})"


class Dependencies:
    """What a program calls, who needs whom, and how each of them is.

    `clock`: for a lab; else breakers live by the machine's monotonic clock. `probing_max`: how many may be probed at
    once; `rounds_max`: after how many openings in a row one is left to people. Raises InvalidDefinition for a ring of
    hard edges, an edge to nobody, or a name given twice.

    Example::

        dependencies = Dependencies(
            Dependency(name="db", kind="database", probe=select_one),
            Dependency(name="llm", kind="llm"),
            Dependency(name="triage", kind="agent", needs=["llm", "db"]),
        )
        async with dependencies:
            answer = await dependencies.on("llm").call(ask, "why?")
    """

    def __init__(
        self,
        *dependencies: Dependency,
        clock: Clock | None = None,
        randomness: Randomness | None = None,
        probing_max: int = PROBING_MAX,
        rounds_max: int = ROUNDS_MAX,
    ) -> None:
        self._probing_max = probing_max
        self._rounds_max = rounds_max
        self.graph = Graph(dependencies)
        self.clock = clock or SystemClock()
        self.now = monotonic_s if clock is None else clock.time_s
        self.is_all_well = True
        """Whether a call has nothing to look at but its breaker."""
        epoch_s = system_time_s if clock is None else clock.time_s
        chance = randomness or system_randomness()
        self._breakers: dict[str, CircuitBreaker] = {}
        for name in self.graph.order:
            options = self.graph.nodes[name].breaker_options
            options = options.but(classify=blaming(self.graph, name, options.classify))
            self._breakers[name] = CircuitBreaker(
                name, options, clock=self.now, epoch_s=epoch_s, randomness=chance
            )  # fmt: skip
            self._breakers[name].listen(self._moved)
        self._states: dict[str, Breaker] = {name: Breaker() for name in self.graph.order}
        self._ill_since: dict[str, float] = {}
        self._openings: list[tuple[str, float]] = []
        self._recoveries: dict[str, Recovery] = {}
        self._listeners: list[Listener] = []
        self._is_self_suspect = False
        self._lock = threading.RLock()
        self._healer: Healer | None = None
        self.budget: Budget = Alone()
        """Who may probe, where several processes share the probes."""
        self.on_moved: Callable[[], None] = lambda: None
        """Called in whatever thread a breaker moved, for whoever heals."""

    async def __aenter__(self) -> Self:
        self._healer = Healer(self, probing_max=self._probing_max, rounds_max=self._rounds_max)
        self._healer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        healer, self._healer = self._healer, None
        if healer is not None:
            await healer.stop()

    # -- calls --------------------------------------------------------------------------------------------------

    def on(self, name: str, *, load: Class = "people") -> Door:
        """The way to a dependency, for calls that somebody waits for, or for others. Raises InvalidDefinition."""
        self.graph.check(name)
        return Door(self, name, load)

    def breaker(self, name: str) -> CircuitBreaker:
        """A dependency's breaker. Raises InvalidDefinition where there is none of that name."""
        self.graph.check(name)
        return self._breakers[name]

    def refuse(self, name: str, load: Class = "people") -> None:
        """Raises BreakerOpen where a call to `name` cannot succeed for what it needs, or must wait for others'."""
        breakers = self.breakers()
        if roots := blocked_by(self.graph, breakers, name):
            root = self._breakers[roots[0]].look()
            raise BreakerOpen(
                f"{name} is blocked by {', '.join(roots)}, which is {root.state} ({root.reason}); nothing was called",
                breaker=name,
                blamed=roots[0],
                state="blocked",
                reason=root.reason,
                retry_after_s=root.retry_after_s,
            )
        share = share_of_way(self.graph, breakers, name)
        if not is_down(breakers[name].state) and not admits(share, load):
            raise BreakerOpen(
                f"{name} is coming back and takes {share:.0%} of its calls: those of the class {load} wait",
                breaker=name,
                blamed=name,
                state="ramping",
                reason="coming back",
                retry_after_s=1.0,
            )

    def stops(self, names: Sequence[str]) -> BreakerOpen | None:
        """Why a call to one of these would be refused now, if it would; nothing is called or counted."""
        for name in names:
            try:
                self.refuse(name)
                self._breakers[name].refuse_if_closed_to_calls()
            except BreakerOpen as error:
                return error
        return None

    # -- what people say ----------------------------------------------------------------------------------------

    def force(self, name: str, state: Forced, *, reason: str) -> None:
        """Force a breaker into a state; see `CircuitBreaker.force`."""
        self.breaker(name).force(state, reason=reason)

    def release(self, name: str, *, reason: str = "released") -> None:
        """Close a breaker, with nothing remembered."""
        self.breaker(name).release(reason=reason)

    def wake(self, name: str) -> None:
        """Have a dormant dependency probed again."""
        self.breaker(name).wake()
        self.on_moved()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event from now on, in the thread in which it happened. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- looks --------------------------------------------------------------------------------------------------

    def breakers(self) -> dict[str, Breaker]:
        """What the rules need to know of each breaker, now."""
        for name, known in self._states.items():
            if known.share < 1 or known.state == "half_open":  # what changes by time alone
                view = self._breakers[name].look()
                self._states[name] = known._replace(state=view.state, share=view.share)
        self._set_all_well()
        return self._states

    def look(self) -> list[DependencyView]:
        """Every dependency now, each behind what it needs."""
        found = standings(self.graph, self.breakers())
        now = self.now()
        return [
            DependencyView(
                self.graph.nodes[name],
                found[name],
                self._breakers[name].look(),
                now - self._ill_since[name] if name in self._ill_since else None,
                self._recoveries.get(name),
            )
            for name in self.graph.order
        ]

    def incidents(self) -> list[Incident]:
        """What has opened and is not back yet, as the incidents behind it."""
        return incidents(self.graph, [each for each in self._openings if each[0] in self._ill_since])

    @property
    def is_healing(self) -> bool:
        """Whether it is entered, and heals."""
        return self._healer is not None

    @property
    def is_self_suspect(self) -> bool:
        """Whether so much is ill that it is likelier this process."""
        return self._is_self_suspect

    def ill_since(self) -> Mapping[str, float]:
        """Since when (monotonic seconds) each that is not closed again has been ill."""
        return self._ill_since

    def snapshot(self) -> dict[str, BreakerSnapshot]:
        """What a new process needs to go on where this one is."""
        return {name: breaker.snapshot() for name, breaker in self._breakers.items()}

    def restore(self, snapshots: Mapping[str, BreakerSnapshot]) -> None:
        """Go on from a snapshot; names that are not declared any more are left out."""
        for name, snapshot in snapshots.items():
            if name in self._breakers and snapshot.state != "closed":
                self._breakers[name].restore(snapshot)

    def __repr__(self) -> str:
        ill = sorted(self._ill_since)
        return f"Dependencies({len(self.graph)}, ill={ill})"

    # -- the inside ---------------------------------------------------------------------------------------------

    def _moved(self, event: BreakerEvent) -> None:
        if event.kind == "moved":
            with self._lock:  # breakers move in any thread
                self._take_note(event)
            self.on_moved()

    def _take_note(self, event: BreakerEvent) -> None:
        name, now = event.breaker, self.now()
        view = self._breakers[name].look()
        self._states[name] = Breaker(view.state, view.share, now if event.after == "open" else None)
        if event.after in ("open", "forced_open"):
            self._opened(name, event.reason, now)
        elif event.after in ("closed", "disabled", "metrics_only"):
            self._closed(name, now)
        self._hold_blocked()
        self._set_all_well()

    def _opened(self, name: str, reason: str, now: float) -> None:
        is_new = name not in self._ill_since
        self._ill_since.setdefault(name, now)
        if not is_new:
            return
        self._openings = [each for each in self._openings if each[0] in self._ill_since and each[0] != name]
        self._openings = [*self._openings[-OPENINGS_MAX:], (name, now)]
        root = next((each.root for each in self.incidents() if name in each.members), name)
        self.tell("ill", name, reason if root == name else f"{reason}; one incident with {root}", now)
        was, self._is_self_suspect = self._is_self_suspect, suspects_itself(self.graph, self._states)
        if self._is_self_suspect and not was:
            self.tell("self_suspect", name, f"{len(self._ill_since)} dependencies ill within {INCIDENT_S:g} s", now)

    def _closed(self, name: str, now: float) -> None:
        since = self._ill_since.pop(name, None)
        self._is_self_suspect = self._is_self_suspect and suspects_itself(self.graph, self._states)
        if since is None:
            return
        recovery = Recovery(name, now - since, self.graph.nodes[name].objective_s)
        self._recoveries[name] = recovery
        late = f", {recovery.took_s - recovery.objective_s:.1f} s over its objective" if recovery.is_late else ""
        self.tell("recovered", name, f"after {recovery.took_s:.1f} s{late}", now)

    def _hold_blocked(self) -> None:
        """Whoever is ill and needs something ill is not probed."""
        for name in self._ill_since:
            breaker = self._breakers[name]
            if roots := blocked_by(self.graph, self._states, name):
                breaker.hold(f"{BLOCKED}{', '.join(roots)}")
            elif breaker.held.startswith(BLOCKED):
                breaker.unhold()

    def _set_all_well(self) -> None:
        self.is_all_well = all(not is_down(each.state) and each.share >= 1 for each in self._states.values())

    def tell(self, kind: Any, name: str, reason: str, now: float) -> None:
        """Tell the listeners. One that raises is logged and harms nobody."""
        event = DependencyEvent(kind, name, reason, now)
        log.info("dependency", **event._asdict())
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:
                log.warning("a listener of dependencies raised", error=repr(error))
