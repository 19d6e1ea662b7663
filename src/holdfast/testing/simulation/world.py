"""The world outside: receives effects, honours their keys and tokens, and remembers who asked for what."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable

from holdfast.clock import Randomness
from holdfast.errors import Fenced
from holdfast.testing.simulation.loop import current_process

EFFECT_S_MAX = 0.3
"""The longest that an effect takes on its way there, and again on its way back, in virtual seconds."""


class World:
    """One for all nodes. `flaky`: how often (0 to 1) an effect fails on its way there, and on its way back.

    Example: `await world.effect(f"{ctx.ticket_id}/charge", key=key)` in a step that takes `key`.
    """

    def __init__(self, chance: Randomness) -> None:
        self._chance = chance
        self._keys: dict[str, str] = {}
        self._receipts: dict[str, int] = {}
        self._tokens: dict[str, dict[int, str]] = {}
        self._attempts: dict[tuple[str, int, int | None], str] = {}
        self.effects: Counter[str] = Counter()
        self.flaky = 0.0
        self.failed = 0
        self.fenced = 0
        self.repeated = 0
        self.problems: list[str] = []
        self.on_shown: Callable[[], None] = lambda: None
        """Hears of each token that is on its way here."""

    async def effect(self, what: str, *, key: str) -> str:
        """Let `what` happen, once for each `key`. `what` names the intention: the same one is to come with one key."""

        def happen() -> None:
            first = self._keys.setdefault(what, key)
            if first != key:
                self.problems.append(f"effect {what}: happened with the key {first}, and again with {key}")
            self.repeated += self.effects[key]
            self.effects[key] = 1

        await self._ask(happen)
        return what

    def receipt(self, key: str) -> int:
        """The number of what happened with `key`: it is the same, however often it is asked for."""
        return self._receipts.setdefault(key, len(self._receipts) + 1)

    def has_happened(self, what: str) -> bool:
        """Whether the effect `what` has come here."""
        return what in self._keys

    async def guarded(self, lock: str, token: int, holder: str, *, attempt: int | None = None) -> None:
        """Write where only the holder of `lock` may: whoever comes with an older token than one seen is refused. An
        `attempt` is made by one process: another one that goes on with it is to show a newer token."""
        self.on_shown()
        process = current_process.get()
        here = process.name if process is not None else "no process"

        def write() -> None:
            there = self._attempts.setdefault((lock, token, attempt), here)
            if attempt is not None and there != here:
                self.problems.append(f"lock {lock}: token {token} was shown by {holder} in {there}, and in {here}")
            tokens = self._tokens.setdefault(lock, {})
            if tokens and token < max(tokens):
                self.fenced += 1
                raise Fenced(f"lock {lock}: expected a token of at least {max(tokens)}, saw {token}")
            if tokens.setdefault(token, holder) != holder:
                self.problems.append(f"lock {lock}: token {token} was shown by {tokens[token]} and by {holder}")

        await self._ask(write)

    async def _ask(self, what: Callable[[], None]) -> None:
        """Let a word travel to the world, and the answer back. A word on its way arrives whatever becomes of the sender
        meanwhile: he may stand still, be cancelled, or lose his power."""
        if self._is_lost():
            await asyncio.sleep(self._way_s())
            raise ConnectionError("the world is flaky, on purpose")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Fenced | None] = loop.create_future()

        def arrive() -> None:
            refusal = None
            try:
                what()
            except Fenced as error:
                refusal = error
            if not answer.done():
                answer.set_result(refusal)

        loop.call_later(self._way_s(), arrive, context=contextvars.Context())  # which is no process's
        refusal = await answer
        await asyncio.sleep(self._way_s())
        if refusal is not None:
            raise refusal
        if self._is_lost():
            raise ConnectionError("the world is flaky, on purpose")

    def _way_s(self) -> float:
        return self._chance.random() * EFFECT_S_MAX

    def _is_lost(self) -> bool:
        is_lost = bool(self.flaky) and self._chance.random() < self.flaky
        self.failed += is_lost
        return is_lost

    def __repr__(self) -> str:
        return f"World(effects={len(self.effects)}, repeated={self.repeated}, failed={self.failed})"
