"""A breaker without a clock, a lock or a task: it is told the time, and says who may pass.

Each change of state begins a new generation. A call carries the generation in which it was let in; what it comes to
counts in that one alone, so a call that began before the breaker opened can neither close it nor open it again. A probe
is a lease: it ends by its result, or by its time, and what comes later counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import msgspec

from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.options import BreakerOptions
from holdfast.resilience.breaker.outcomes import SUCCESS, Kind, Outcome
from holdfast.resilience.breaker.rules import (
    Counts,
    State,
    calls_needed,
    judge_probes,
    learn,
    open_wait_s,
    ramp_share,
    why_open,
)
from holdfast.resilience.breaker.window import window_of

Forced = Literal["forced_open", "disabled", "metrics_only"]
UNPROBED = "nobody came to probe it"
"""Why a half-open breaker is open again without having learned anything."""
THRESHOLD_STEP = 0.01
"""How far a learned threshold must move to be worth telling."""


class Pass:
    """What a call carries from its admission to its end. `expires_at`: until when a probe has time, else None."""

    __slots__ = ("expires_at", "generation")

    def __init__(self, generation: int, expires_at: float | None = None) -> None:
        self.generation = generation
        self.expires_at = expires_at


class Refusal(NamedTuple):
    """Why nobody passes. `retry_after_s`: when it is worth asking again; None where only a person changes it."""

    state: State
    reason: str
    retry_after_s: float | None


class Move(NamedTuple):
    """Something about a breaker that people may want to hear of. `kind`: "moved" to another state, "would_open" where
    it only measures, "threshold" where a learned one changed."""

    kind: Literal["moved", "would_open", "threshold"]
    before: State
    after: State
    reason: str
    generation: int


class BreakerSnapshot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What outlives a process. `open_left_s`: seconds that it still had to stay open at `taken_at_s` (epoch)."""

    state: State
    taken_at_s: float
    attempt: int = 0
    open_left_s: float = 0.0
    reason: str = ""
    usual: float | None = None


class BreakerMachine:
    """The state of one breaker. `now` is seconds of any clock that is never set; `draw` gives numbers in [0, 1)."""

    def __init__(self, options: BreakerOptions, *, now: float, draw: Callable[[], float]) -> None:
        self.options = options
        self.state: State = "closed"
        self.generation = 0
        self.attempt = 0
        """How many times in a row it has opened."""
        self.reason = ""
        self.open_until = 0.0
        self.held = ""
        """Why nobody but who is asked to may probe it, "" where everybody may."""
        self.failure_rate = options.adaptive.rate_min if options.adaptive else options.failure_rate
        self.usual: float | None = None
        self.refused = 0
        self.late = 0
        """Results that came when their generation, or their probe's time, was over."""
        self.door: Pass | None = Pass(0)
        """The pass of everybody, while nothing needs to be judged. Reading it is all that a closed breaker does."""
        self._pass = self.door
        self._draw = draw
        self._window = window_of(options)
        self._slow_s = options.slow_s
        self._calls_needed = calls_needed(options)
        self._is_learning = options.adaptive is not None
        self._plain_door = None if self._is_learning else self.door
        """The door, while it is closed and a success means no more than one more call."""
        self._in_row = 0
        self._learned_at = 0.0
        self._since_learned = 0
        self._ramp_began: float | None = None
        self._credit = self._credited_at = 0.0
        self._usual_rate = options.ramp_rate_min
        self._empty_since = now
        self._probes: list[Pass] = []
        self._probed = Counts()
        self._probing_since = 0.0
        self.moves: list[Move] = []
        """What happened and was not taken yet."""

    # -- who may pass -------------------------------------------------------------------------------------------

    def acquire(self, now: float) -> Pass | Refusal:
        """A pass for one call, or why there is none."""
        if self.door is not None:
            return self.door
        if self.state == "open" and now >= self.open_until and not self.held:
            self._move(now, "half_open", "the wait is over")
        if self.state == "half_open":
            return self._probe(now) if not self.held else self._refuse(now)
        if self.state == "closed":
            return self._in_ramp(now)
        return self._refuse(now)

    def refusal(self, now: float) -> Refusal | None:
        """Why a call would be refused now, None where it would pass; counts for nothing."""
        if self.door is not None:
            return None
        if self.held:
            return self._why_not(now)
        state = self.look(now)
        is_due = state == "open" and now >= self.open_until
        has_permit = state == "half_open" and self._probed.calls + len(self._probes) < self.options.probes
        return None if is_due or has_permit or state == "closed" else self._why_not(now)

    def acquire_probe(self, now: float) -> Pass | None:
        """A pass for a probe by whoever holds the breaker back from others; None where none is due."""
        if self.state == "open" and now >= self.open_until:
            self._move(now, "half_open", "probed on purpose")
        if self.state != "half_open":
            return None
        taken = self._probe(now)
        return taken if isinstance(taken, Pass) else None

    def settle(self, given: Pass, outcome: Outcome, now: float, took_s: float) -> None:
        """What the call with this pass came to."""
        kind = outcome.kind
        if given.generation != self.generation:
            self.late += 1
        elif given is self._pass:
            if kind is Kind.SUCCESS or kind is Kind.FAILURE:
                self._count(now, kind is Kind.FAILURE, took_s > self._slow_s)
            elif kind is Kind.THROTTLED:
                self._throttled(now, outcome.retry_after_s)
        elif given in self._probes:
            self._probes.remove(given)
            if kind is Kind.SUCCESS or kind is Kind.FAILURE:
                self._count_probe(now, kind is Kind.FAILURE, took_s > self._slow_s)
            elif kind is Kind.THROTTLED:
                self._throttled(now, outcome.retry_after_s)
        else:
            self.late += 1

    def succeeded(self, given: Pass, now: float, took_s: float) -> None:
        """`settle` of a success, short where the breaker is closed and well."""
        if given is self._plain_door:
            window = self._window
            if self._in_row:
                self._in_row = 0
            if took_s > self._slow_s:
                window.record(now, False, True)
            else:
                window.record_success(now)
            if window.failures or window.slow:
                self._judge(now)
        else:
            self.settle(given, SUCCESS, now, took_s)

    # -- what others say ----------------------------------------------------------------------------------------

    def open(self, now: float, reason: str, *, wait_s: float | None = None) -> None:
        """Open it for what was learned elsewhere; for `wait_s` seconds, or as long as it would by itself."""
        if self.state in ("closed", "half_open"):
            self._open(now, reason, wait_s=wait_s)

    def close(self, now: float, reason: str) -> None:
        """Close it for what was learned elsewhere: it lets calls in by and by, as after probes of its own."""
        if self.state in ("open", "half_open"):
            self._move(now, "closed", reason)

    def force(self, now: float, state: Forced, reason: str) -> None:
        """Put it into a state that only `release` ends. Raises InvalidInput for another."""
        if state not in get_args(Forced):
            raise InvalidInput(f"breaker: expected {', '.join(get_args(Forced))} to be forced, saw {state!r}")
        self._move(now, state, reason)

    def release(self, now: float, reason: str = "released") -> None:
        """Close it, with nothing remembered."""
        self.attempt = 0
        self._move(now, "closed", reason)

    def wake(self, now: float) -> None:
        """Have an open one probed now, as if it had opened for the first time."""
        if self.state == "open":
            self.attempt, self.open_until = 1, now

    def heed(self, attempt: int) -> None:
        """Others have probed it in vain: an open one has opened so many times in a row, or more."""
        if self.state == "open":
            self.attempt = max(self.attempt, attempt)

    def rest(self, now: float) -> bool:
        """Open, and due, instead of half-open where no probe is under way; False where one is."""
        if self.state == "half_open" and not self._probes:
            self._move(now, "open", UNPROBED)
            self.open_until = now
        return self.state != "half_open"

    def hold(self, reason: str) -> None:
        """Let nobody probe it but `acquire_probe`, until `unhold`."""
        self.held = reason

    def unhold(self) -> None:
        self.held = ""

    # -- looks --------------------------------------------------------------------------------------------------

    def look(self, now: float) -> State:
        """The state now: probes whose time is over are counted, and a ramp that has ended is over."""
        if self.state == "half_open":
            self._expire(now)
        elif self._ramp_began is not None and now - self._ramp_began >= self.options.ramp_s:
            self._end_ramp()
        return self.state

    def is_shut(self, now: float) -> bool:
        """Whether it has calls to refuse: not closed and well, nor open with its wait over and nobody to probe it."""
        return self.door is None and (self.state != "open" or now < self.open_until)

    def counts(self, now: float) -> Counts:
        """What its window has now."""
        return self._window.counts(now)

    def pace(self, now: float) -> float | None:
        """How many calls a second it lets in while it ramps, None where it does not."""
        return None if self._ramp_began is None else self.share(now) * self._usual_rate

    def share(self, now: float) -> float:
        """The share of its usual calls that it lets in: 0 open, 1 closed, between them while it probes or ramps."""
        if self.door is not None:
            return 1.0
        if self.state == "closed" and self._ramp_began is not None:
            return ramp_share(now - self._ramp_began, self.options)
        return 0.0

    def take_moves(self) -> list[Move]:
        """What happened since the last time, in order."""
        moves, self.moves = self.moves, []
        return moves

    def snapshot(self, now: float, *, epoch_s: float) -> BreakerSnapshot:
        """What a new process needs to go on where this one is."""
        return BreakerSnapshot(
            state=self.state,
            taken_at_s=epoch_s,
            attempt=self.attempt,
            open_left_s=max(0.0, self.open_until - now) if self.state == "open" else 0.0,
            reason=self.reason,
            usual=self.usual,
        )

    def restore(self, snapshot: BreakerSnapshot, now: float, *, epoch_s: float) -> None:
        """Go on from a snapshot. Half-open becomes open and due, for its probes died with their process; an open one
        keeps what was left of its wait, less the time since by the wall clock, but never more than that."""
        self.attempt = snapshot.attempt
        self._learn_from(snapshot.usual)
        state: State = "open" if snapshot.state == "half_open" else snapshot.state
        self._move(now, state, snapshot.reason or "restored")
        if state == "open":
            passed = min(max(0.0, epoch_s - snapshot.taken_at_s), snapshot.open_left_s)
            self.open_until = now + snapshot.open_left_s - passed

    # -- the inside ---------------------------------------------------------------------------------------------

    def _refuse(self, now: float) -> Refusal:
        self.refused += 1
        return self._why_not(now)

    def _why_not(self, now: float) -> Refusal:
        if self.state == "open":
            left = max(0.0, self.open_until - now)
            return Refusal("open", self.held or self.reason, left)
        if self.state == "half_open":
            ends = [each.expires_at for each in self._probes if each.expires_at is not None]
            return Refusal("half_open", self.held or "probes are under way", max(0.0, min(ends, default=now) - now))
        if self.state == "closed":
            pace = self.share(now) * self._usual_rate
            return Refusal("closed", f"lets in {pace:.2g} calls a second after {self.reason}", 1 / pace)
        return Refusal(self.state, self.reason, None)

    def _probe(self, now: float) -> Pass | Refusal:
        self._expire(now)
        if self.state != "half_open":  # the probes whose time was over have decided
            return self._refuse(now)
        if self._probed.calls + len(self._probes) >= self.options.probes:
            return self._refuse(now)
        given = Pass(self.generation, now + self.options.probe_ttl_s)
        self._probes.append(given)
        return given

    def _expire(self, now: float) -> None:
        for late in [each for each in self._probes if each.expires_at is not None and each.expires_at <= now]:
            if late in self._probes:  # the last one may have opened it
                self._probes.remove(late)
                self._count_probe(now, True, True)
        if self.state == "half_open" and not self._probes and now - self._probing_since >= self.options.probing_max_s:
            self._probed, self._probing_since = Counts(), now  # what came of a round that nobody ended is too old

    def _in_ramp(self, now: float) -> Pass | Refusal:
        assert self._ramp_began is not None, "a closed breaker without a door is in its ramp"
        share = ramp_share(now - self._ramp_began, self.options)
        if share >= 1:
            self._end_ramp()
            return self._pass
        pace = share * self._usual_rate
        self._credit = min(max(1.0, pace), self._credit + (now - self._credited_at) * pace)
        self._credited_at = now
        if self._credit < 1:
            return self._refuse(now)
        self._credit -= 1
        return self._pass

    def _end_ramp(self) -> None:
        self._ramp_began, self.door, self.attempt = None, self._pass, 0
        self._plain_door = None if self._is_learning else self.door

    def _count(self, now: float, has_failed: bool, is_slow: bool) -> None:
        if self.state == "disabled":
            return
        self._window.record(now, has_failed, is_slow)
        self._in_row = self._in_row + 1 if has_failed else 0
        if not self._judge(now) and self._is_learning:
            self._learn(now)

    def _judge(self, now: float) -> bool:
        """Open if the window says so."""
        needed = self._calls_needed if self._ramp_began is None else min(self._calls_needed, self.options.probes)
        counts = self._window.counts(now)
        reason = why_open(counts, self.options, failure_rate=self.failure_rate, calls_min=needed, in_row=self._in_row)
        if self.state == "metrics_only":
            if reason and not self.reason.startswith("would open"):
                self.reason = f"would open, {reason}"
                self.moves.append(Move("would_open", self.state, self.state, reason, self.generation))
            return False
        if reason:
            self._open(now, reason)
        return bool(reason)

    def _count_probe(self, now: float, has_failed: bool, is_slow: bool) -> None:
        calls, failures, slow = self._probed
        self._probed = Counts(calls + 1, failures + has_failed, slow + is_slow)
        verdict = judge_probes(self._probed, self.options, failure_rate=self.failure_rate)
        if verdict.why_open:
            self._open(now, verdict.why_open)
        elif verdict.is_over:
            self._move(now, "closed", "probes succeeded")

    def _throttled(self, now: float, retry_after_s: float | None) -> None:
        options = self.options
        if not options.throttle_opens or self.state not in ("closed", "half_open"):
            return
        wait_s = min(options.open_s if retry_after_s is None else retry_after_s, options.throttle_max_s)
        self.attempt -= 1  # a quota is no outage: the next wait is not longer for it
        self._open(now, f"throttled for {wait_s:g} s", wait_s=wait_s)

    def _open(self, now: float, reason: str, *, wait_s: float | None = None) -> None:
        self.attempt = max(0, self.attempt + 1)
        self._move(now, "open", reason)
        draw = self._draw()
        self.open_until = now + (
            open_wait_s(max(1, self.attempt), self.options, draw=draw) if wait_s is None else wait_s
        )

    def _move(self, now: float, state: State, reason: str) -> None:
        before, self.state, self.reason = self.state, state, reason
        if before == "closed" and self._ramp_began is None:
            self._usual_rate = max(self.options.ramp_rate_min, self._window.rate(now, self._empty_since))
        self.generation += 1
        self._pass = Pass(self.generation)
        self._probes, self._probed, self._probing_since = [], Counts(), now
        self._ramp_began = None
        if state not in ("open", "half_open"):
            self._window.clear()
            self._in_row = 0
            self._empty_since = now
            self.held = ""  # there is nothing to probe
        self.door = self._pass if state in ("closed", "disabled", "metrics_only") else None
        self._plain_door = None
        if state == "closed" and self.attempt:
            if self.options.ramp_s > 0:
                self._ramp_began, self.door = now, None
                self._credit, self._credited_at = 1.0, now
            else:
                self.attempt = 0
        if state == "closed" and not self._is_learning:
            self._plain_door = self.door
        self.moves.append(Move("moved", before, state, reason, self.generation))

    def _learn(self, now: float) -> None:
        """One more healthy window has passed: its failures are what is usual."""
        self._since_learned += 1
        options = self.options
        if options.window_s is None:
            is_full = self._since_learned >= options.window_calls
        else:
            is_full = now - self._learned_at >= options.window_s and self._since_learned >= options.calls_min
        if not is_full:
            return
        self._since_learned, self._learned_at = 0, now
        assert options.adaptive is not None
        before = self.failure_rate
        self.usual, rate = learn(self.usual, self._window.counts(now), options.adaptive)
        self.failure_rate = rate
        if abs(rate - before) >= THRESHOLD_STEP:
            reason = f"opens at {rate:.0%} failed, before at {before:.0%}, for {self.usual:.1%} is usual"
            self.moves.append(Move("threshold", self.state, self.state, reason, self.generation))

    def _learn_from(self, usual: float | None) -> None:
        adaptive = self.options.adaptive
        if adaptive is not None and usual is not None:
            self.usual = usual
            self.failure_rate = min(max(adaptive.times * usual, adaptive.rate_min), adaptive.rate_max)
