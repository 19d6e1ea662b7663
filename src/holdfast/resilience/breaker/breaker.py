"""The breaker that calls go through: a machine, a clock, a lock for threads, and listeners.

The lock is held while a result is counted, never while a call runs, and nothing here waits: one breaker serves any
number of loops and threads.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from holdfast.clock import Randomness, monotonic_s, system_randomness, system_time_s
from holdfast.errors import BreakerOpen
from holdfast.logs import get_logger
from holdfast.resilience.breaker.machine import BreakerMachine, BreakerSnapshot, Forced, Move, Pass, Refusal
from holdfast.resilience.breaker.options import BreakerOptions
from holdfast.resilience.breaker.outcomes import CANCELLED, FAILURE, SUCCESS, Kind, Outcome, is_cancellation
from holdfast.resilience.breaker.rules import Counts, State

P = ParamSpec("P")
T = TypeVar("T")
Listener = Callable[["BreakerEvent"], None]

log = get_logger("holdfast.resilience")


class BreakerEvent(NamedTuple):
    """Something that happened to a breaker. `kind`: "moved", "would_open" or "threshold"; see `Move`."""

    breaker: str
    kind: str
    before: State
    after: State
    reason: str
    generation: int


class BreakerView(NamedTuple):
    """A breaker at one moment. `share`: of its usual calls it lets in, `pace` of how many a
    second where it ramps; `opens_at`: the failure rate, given or learned;
    `retry_after_s`: until it may be probed, None where that is no matter of time; `last_error`: what failed last."""

    name: str
    state: State
    reason: str
    counts: Counts
    share: float
    pace: float | None
    opens_at: float
    attempt: int
    generation: int
    retry_after_s: float | None
    refused: int
    late: int
    last_error: str


class CircuitBreaker:
    """Lets calls to one dependency through while it is well, and refuses them at once while it is not.

    `clock` gives monotonic seconds, `epoch_s` those of the wall, which only snapshots use. A refused call raises
    BreakerOpen and calls nothing; the call that opens the breaker raises what it raised. What others' calls raised is
    told by `look()` and the log alone: it is for operators.

    Example::

        breaker = CircuitBreaker("search", BreakerOptions(failure_rate=0.5, calls_min=10))
        answer = await breaker.call(client.get, "/search?q=holdfast")
    """

    def __init__(
        self,
        name: str,
        options: BreakerOptions | None = None,
        *,
        clock: Callable[[], float] = monotonic_s,
        epoch_s: Callable[[], float] = system_time_s,
        randomness: Randomness | None = None,
    ) -> None:
        self.name = name
        self.options = options or BreakerOptions()
        self._clock = clock
        self._epoch_s = epoch_s
        self._classify = self.options.classify
        self._machine = BreakerMachine(self.options, now=clock(), draw=(randomness or system_randomness()).random)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._last_error = ""

    # -- calls --------------------------------------------------------------------------------------------------

    async def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `await function(*args, **kwargs)` gives. Raises BreakerOpen without calling it while it may not pass."""
        machine, clock = self._machine, self._clock
        given = machine.door or self._acquire()
        began = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._failed(given, began, error)
            raise
        now = clock()
        with self._lock:
            machine.succeeded(given, now, now - began)
        if machine.moves:
            self._tell()
        return result

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A call in a block, sync or async: `with breaker.attempt(): ...`. Raises BreakerOpen before the block."""
        given = self._machine.door or self._acquire()
        began = self._clock()
        try:
            yield
        except BaseException as error:
            self._failed(given, began, error)
            raise
        self.settle(given, SUCCESS, self._clock() - began)

    async def stream(self, items: Callable[[], AsyncIterator[T]]) -> AsyncIterator[T]:
        """The items of a stream, counted as one call: it fails once wherever it breaks, and counts as cancelled when
        its reader closes it early. `items` is called once it may pass."""
        given = self._machine.door or self._acquire()
        began = self._clock()
        try:
            async for item in items():
                yield item
        except BaseException as error:  # GeneratorExit, too: the reader went away
            self._failed(given, began, error)
            raise
        self.settle(given, SUCCESS, self._clock() - began)

    def wrap(self, function: Callable[P, T]) -> Callable[P, T]:
        """The function, async or not, with each of its calls through this breaker. A decorator."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def through(*args: P.args, **kwargs: P.kwargs) -> Any:
                return await self.call(cast("Callable[P, Awaitable[Any]]", function), *args, **kwargs)

            return cast("Callable[P, T]", through)

        @functools.wraps(function)
        def through_sync(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.attempt():
                return function(*args, **kwargs)

        return through_sync

    # -- for whoever puts breakers together ---------------------------------------------------------------------

    def acquire(self) -> Pass:
        """A pass for one call, to be settled whatever comes of it. Raises BreakerOpen."""
        return self._machine.door or self._acquire()

    def acquire_probe(self) -> Pass | None:
        """A pass for a probe although the breaker is held back; None where none is due, or all are out."""
        with self._lock:
            given = self._machine.acquire_probe(self._clock())
        self._tell()
        return given

    def refuse_if_closed_to_calls(self) -> None:
        """Raises BreakerOpen where a call would be refused now; nothing is called or counted."""
        with self._lock:
            refusal = self._machine.refusal(self._clock())
        self._tell()
        if refusal is not None:
            raise self._refused(refusal)

    def settle(self, given: Pass, outcome: Outcome, took_s: float) -> None:
        """What the call with this pass came to, and how long it took in seconds."""
        with self._lock:
            self._machine.settle(given, outcome, self._clock(), took_s)
        if self._machine.moves:
            self._tell()

    def settle_error(self, given: Pass, error: BaseException | None, took_s: float) -> None:
        """The same for a call that came to `error`, None where it succeeded."""
        outcome = SUCCESS if error is None else self.classify(error)
        if outcome.kind is Kind.FAILURE:
            self._last_error = f"{type(error).__name__}: {error}"[:200]
        self.settle(given, outcome, took_s)

    def classify(self, error: BaseException) -> Outcome:
        """What the error counts as here. A classifier that raises makes a failure of it, and is logged."""
        if is_cancellation(error):
            return CANCELLED
        assert isinstance(error, Exception)
        try:
            return self._classify(error)
        except Exception as wrong:
            log.warning("a breaker's classifier raised: counted as a failure", breaker=self.name, error=repr(wrong))
            return FAILURE

    # -- what people and coordinators say -----------------------------------------------------------------------

    def open(self, reason: str, *, wait_s: float | None = None) -> None:
        """Open it for what was learned elsewhere, for `wait_s` seconds or its own wait."""
        self._do(lambda machine, now: machine.open(now, reason, wait_s=wait_s))

    def close(self, reason: str) -> None:
        """Close an open one for what was learned elsewhere: it lets calls in by and by, as after probes of its own."""
        self._do(lambda machine, now: machine.close(now, reason))

    def force(self, state: Forced, *, reason: str) -> None:
        """Force it open ("forced_open"), let everybody pass and count nothing ("disabled"), or count and let everybody
        pass ("metrics_only"), until `release`."""
        self._do(lambda machine, now: machine.force(now, state, reason))

    def release(self, *, reason: str = "released") -> None:
        """Close it, with nothing remembered."""
        self._do(lambda machine, now: machine.release(now, reason))

    def wake(self) -> None:
        """Have it probed now, as if it had opened for the first time; nothing where it is not open."""
        self._do(lambda machine, now: machine.wake(now))

    def heed(self, attempt: int) -> None:
        """Count the rounds of probes that others made in vain: an open one has opened so many times, or more."""
        self._do(lambda machine, now: machine.heed(attempt))

    def rest(self) -> bool:
        """Open and due instead of half-open, where no probe is under way; False where one is."""
        with self._lock:
            is_at_rest = self._machine.rest(self._clock())
        self._tell()
        return is_at_rest

    def hold(self, reason: str) -> None:
        """Let no call probe it: it stays as it is until `unhold`, whatever time passes."""
        self._do(lambda machine, now: machine.hold(reason))

    def unhold(self) -> None:
        """Let calls probe it again, when their time has come."""
        self._do(lambda machine, now: machine.unhold())

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event from now on, in the thread in which it happened. Returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # -- looks --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state now. An open breaker whose wait is over stays open until somebody asks for a pass."""
        return self.look().state

    @property
    def lets_all_in(self) -> bool:
        """Whether everybody passes, with nothing to judge. The cheapest look, and changes nothing."""
        return self._machine.door is not None

    @property
    def is_shut(self) -> bool:
        """Whether it has calls to refuse now. Cheaper than a look, and changes nothing."""
        return self._machine.is_shut(self._clock())

    def look(self) -> BreakerView:
        """The breaker now."""
        with self._lock:
            now, machine = self._clock(), self._machine
            state = machine.look(now)
            view = BreakerView(
                name=self.name,
                state=state,
                reason=machine.held or machine.reason,
                counts=machine.counts(now),
                share=machine.share(now),
                pace=machine.pace(now),
                opens_at=machine.failure_rate,
                attempt=machine.attempt,
                generation=machine.generation,
                retry_after_s=max(0.0, machine.open_until - now) if state == "open" else None,
                refused=machine.refused,
                late=machine.late,
                last_error=self._last_error,
            )
        self._tell()
        return view

    @property
    def held(self) -> str:
        """Why nobody but who is asked to may probe it; "" where everybody may."""
        return self._machine.held

    def snapshot(self) -> BreakerSnapshot:
        """What a new process needs to go on where this one is."""
        with self._lock:
            return self._machine.snapshot(self._clock(), epoch_s=self._epoch_s())

    def restore(self, snapshot: BreakerSnapshot) -> None:
        """Go on from a snapshot: an open breaker keeps its wait and attempt, a half-open one is open and due."""
        self._do(lambda machine, now: machine.restore(snapshot, now, epoch_s=self._epoch_s()))

    def __repr__(self) -> str:
        view = self.look()
        return f"CircuitBreaker({self.name!r}, {view.state}, {view.counts.failures} of {view.counts.calls} failed)"

    # -- the inside ---------------------------------------------------------------------------------------------

    def _acquire(self) -> Pass:
        with self._lock:
            given = self._machine.acquire(self._clock())
        if self._machine.moves:
            self._tell()
        if isinstance(given, Refusal):
            raise self._refused(given)
        return given

    def _refused(self, refusal: Refusal) -> BreakerOpen:
        """What a caller is told. Not the last error: its text came from somebody else's call; see `look()`."""
        after = refusal.retry_after_s
        when = "until somebody releases it" if after is None else f"try again in {after:.1f} s"
        return BreakerOpen(
            f"breaker {self.name} is {refusal.state} ({refusal.reason}): {when}",
            breaker=self.name,
            state=refusal.state,
            reason=refusal.reason,
            retry_after_s=after,
        )

    def _failed(self, given: Pass, began: float, error: BaseException) -> None:
        self.settle_error(given, error, self._clock() - began)

    def _do(self, what: Callable[[BreakerMachine, float], None]) -> None:
        with self._lock:
            what(self._machine, self._clock())
        self._tell()

    def _tell(self) -> None:
        """Tell the listeners, outside of the lock. One that raises is logged and harms nobody."""
        with self._lock:
            moves = self._machine.take_moves()
        for move in moves:
            self._tell_one(move)

    def _tell_one(self, move: Move) -> None:
        event = BreakerEvent(self.name, move.kind, move.before, move.after, move.reason, move.generation)
        log.info("breaker", **event._asdict(), last_error=self._last_error)
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:
                log.warning("a breaker's listener raised", breaker=self.name, error=repr(error))
