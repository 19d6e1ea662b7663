"""A store that fails on purpose: around any other store, by script or by seeded chance, counting what it did.

Each fault must be seen to happen: `unseen()` names those of the script that never came to pass.
"""

from __future__ import annotations

import enum
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from holdfast.clock import Randomness
from holdfast.errors import CommitUnknown, InvalidInput, Unavailable
from holdfast.store.contract.beyond import read_recent
from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import (
    Change,
    Claim,
    Commit,
    Event,
    Key,
    Page,
    Position,
    Query,
    Record,
    Scope,
)
from holdfast.store.wrapping.wrapper import Wrapper

T = TypeVar("T")


class Fault(enum.Enum):
    """What can go wrong with one call."""

    REFUSE = "refuse"
    """Unavailable; nothing was done."""
    LOSE_BEFORE = "lose before"
    """CommitUnknown, and the change was not committed."""
    LOSE_AFTER = "lose after"
    """CommitUnknown, though the change was committed."""
    DELAY = "delay"
    """The call waits for `pause` first."""
    LATE = "late"
    """The call is done, and its answer waits for `pause`. Of who fell ill meanwhile it is lost."""
    STALE = "stale"
    """The answer that the same call got before, if there is an older one."""
    MISS = "miss"
    """A wake-up that does not come: the next one does."""
    REPEAT = "repeat"
    """A wake-up with nothing new behind it."""


_READS = frozenset({Fault.REFUSE, Fault.DELAY, Fault.LATE, Fault.STALE})
_WRITES = frozenset({Fault.REFUSE, Fault.DELAY, Fault.LATE, Fault.LOSE_BEFORE, Fault.LOSE_AFTER})
_POSSIBLE: Mapping[str, frozenset[Fault]] = {
    "read": _READS,
    "read_recent": _READS,
    "scan": _READS,
    "events": _READS,
    "commit": _WRITES,
    "claim": _WRITES,
    "wait": frozenset({Fault.REFUSE, Fault.DELAY, Fault.LATE, Fault.MISS, Fault.REPEAT}),
}
STALE_READS = ("read", "read_recent", "scan", "events")


class When(NamedTuple):
    """`fault` strikes the `nth` call (from 1) of `method`; of commits, only those for which `only` holds count."""

    method: str
    nth: int
    fault: Fault
    only: Callable[[Change], bool] | None = None


async def _no_pause() -> None:
    return None


class FaultyStore(Wrapper[Store]):
    """`inner`, with faults by `script`, or by `chance` at `rates` (0 to 1 per call; they may change), or both.
    `stale_reads`: which methods may give stale answers by chance; a store keeps its contract with `read_recent` alone.

    Example: `FaultyStore(MemoryStore(), script=[When("commit", 2, Fault.LOSE_AFTER)])`.
    """

    def __init__(
        self,
        inner: Store,
        *,
        script: Sequence[When] = (),
        rates: Mapping[Fault, float] | None = None,
        chance: Randomness | None = None,
        pause: Callable[[], Awaitable[None]] = _no_pause,
        stale_reads: Sequence[str] = STALE_READS,
    ) -> None:
        for when in script:
            if when.fault not in _POSSIBLE.get(when.method, ()):
                raise InvalidInput(f"faulty store: {when.method} cannot suffer {when.fault.value}")
        if rates and chance is None:
            raise InvalidInput("faulty store: expected chance (a seeded random.Random) to draw from, saw none")
        super().__init__(inner)
        self._script = list(script)
        self.rates = dict(rates or {})
        self._chance = chance
        self._pause = pause
        self._stale_reads = stale_reads
        self._repeats = 0
        self._matches: Counter[int] = Counter()
        self._answers: dict[tuple[str, str], list[Any]] = {}
        self._struck: set[int] = set()
        self._illness = ""
        self.seen: Counter[Fault] = Counter()

    def ailment(self) -> str | None:
        return self._illness or self._inner.ailment()

    def fall_ill(self, words: str = "ill on purpose") -> None:
        """From now on refuse every call, and say why, until `recover`."""
        self._illness = words

    def recover(self) -> None:
        """Be well again, at once and without a word to anybody."""
        self._illness = ""

    def unseen(self) -> list[When]:
        """What the script asked for and did not happen: the test did not test it."""
        return [when for number, when in enumerate(self._script) if number not in self._struck]

    async def read(self, scope: Scope, keys: Sequence[Key]) -> list[Record | None]:
        return await self._answer("read", (scope, tuple(keys)), lambda: self._inner.read(scope, keys))

    async def read_recent(
        self, scope: Scope, keys: Sequence[Key], *, least_versions: Sequence[int] | None = None
    ) -> list[Record | None]:
        least = least_versions or [0] * len(keys)

        def is_recent(records: list[Record | None]) -> bool:
            return all(record and record.version >= least for record, least in zip(records, least, strict=True))

        found = functools.partial(read_recent, self._inner, scope, keys, least_versions=least_versions)
        return await self._answer("read_recent", (scope, tuple(keys)), found, is_good=is_recent)

    async def scan(self, scope: Scope, query: Query, *, after: str | None = None, limit: int = 100) -> Page:
        return await self._answer(
            "scan", (scope, query, after, limit), lambda: self._inner.scan(scope, query, after=after, limit=limit)
        )

    async def events(
        self,
        scope: Scope,
        *,
        record: Key | None = None,
        stream: tuple[str, str] | None = None,
        after: Position | None = None,
        after_version: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        return await self._answer(
            "events",
            (scope, record, stream, after, after_version, limit),
            lambda: self._inner.events(
                scope, record=record, stream=stream, after=after, after_version=after_version, limit=limit
            ),
        )

    async def commit(self, scope: Scope, change: Change) -> Commit:
        answer = await self._work("commit", lambda: self._inner.commit(scope, change), change)
        self._forget(change.keys)
        return answer

    async def claim(self, scope: Scope, claim: Claim) -> list[Record]:
        return await self._work("claim", lambda: self._inner.claim(scope, claim), None)

    async def wait(self, since: int) -> int:
        strikes = self._strikes("wait", None)
        if Fault.REPEAT in strikes and since:
            self._note(strikes, Fault.REPEAT)
            self._repeats += 1  # what this store counts is ahead of what the inner one counts
            return since + 1
        heard = await self._carry_out("wait", strikes, lambda: self._inner.wait(since - self._repeats))
        if Fault.MISS in strikes:
            self._note(strikes, Fault.MISS)
            heard = await self._inner.wait(heard)
        return heard + self._repeats

    def __repr__(self) -> str:
        done = ", ".join(f"{fault.value}: {count}" for fault, count in self.seen.items())
        return f"FaultyStore({self._inner!r}, seen={{{done}}})"

    async def _answer(
        self,
        method: str,
        arguments: tuple[Any, ...],
        call: Callable[[], Awaitable[T]],
        *,
        is_good: Callable[[T], bool] = lambda _: True,
    ) -> T:
        earlier: list[T] = self._answers.setdefault((method, repr(arguments)), [])
        strikes = self._strikes(method, None)
        answer = await self._carry_out(method, strikes, call)
        if Fault.STALE in strikes and earlier and earlier[-1] != answer and is_good(earlier[-1]):
            self._note(strikes, Fault.STALE)
            return earlier[-1]
        earlier[:] = [answer]
        return answer

    async def _work(self, method: str, call: Callable[[], Awaitable[T]], change: Change | None) -> T:
        return await self._carry_out(method, self._strikes(method, change), call)

    async def _carry_out(self, method: str, strikes: Mapping[Fault, int | None], call: Callable[[], Awaitable[T]]) -> T:
        if Fault.DELAY in strikes:
            self._note(strikes, Fault.DELAY)
            await self._pause()
        if self._illness:
            self.seen[Fault.REFUSE] += 1
            raise Unavailable(f"faulty store: {self._illness}")
        if Fault.REFUSE in strikes:
            self._note(strikes, Fault.REFUSE)
            raise Unavailable(f"faulty store: refuses this {method} on purpose")
        if Fault.LOSE_BEFORE in strikes:
            self._note(strikes, Fault.LOSE_BEFORE)
            raise CommitUnknown(f"faulty store: lost this {method} on the way in, on purpose")
        answer = await call()
        if Fault.LOSE_AFTER in strikes:
            self._note(strikes, Fault.LOSE_AFTER)
            raise CommitUnknown(f"faulty store: lost the answer to this {method}, on purpose")
        if Fault.LATE in strikes:
            self._note(strikes, Fault.LATE)
            await self._pause()
            if self._illness:
                error = CommitUnknown if method in ("commit", "claim") else Unavailable
                raise error(f"faulty store: {self._illness}, before the answer to this {method} came")
        return answer

    def _forget(self, keys: Sequence[Key]) -> None:
        """Who committed these sees nothing older from now on."""
        for call in [
            call for call in self._answers if call[0] == "read_recent" and any(repr(k) in call[1] for k in keys)
        ]:
            del self._answers[call]

    def _may_strike(self, method: str, fault: Fault) -> bool:
        return fault in _POSSIBLE[method] and (fault is not Fault.STALE or method in self._stale_reads)

    def _strikes(self, method: str, change: Change | None) -> dict[Fault, int | None]:
        """The faults of this call, each with the number of its line in the script (None for those by chance)."""
        strikes: dict[Fault, int | None] = {}
        for fault, rate in self.rates.items():
            if self._may_strike(method, fault) and self._chance is not None and self._chance.random() < rate:
                strikes[fault] = None
        for number, when in enumerate(self._script):
            if when.method != method or (when.only and (change is None or not when.only(change))):
                continue
            self._matches[number] += 1
            if self._matches[number] == when.nth:
                strikes[when.fault] = number
        return strikes

    def _note(self, strikes: Mapping[Fault, int | None], fault: Fault) -> None:
        self.seen[fault] += 1
        if (number := strikes[fault]) is not None:
            self._struck.add(number)
