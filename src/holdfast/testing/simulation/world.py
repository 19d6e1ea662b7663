"""The world outside: receives effects, honours their keys and tokens, and remembers who asked for what."""

from __future__ import annotations

import asyncio
from collections import Counter

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
        self._tokens: dict[str, dict[int, str]] = {}
        self._attempts: dict[tuple[str, int, int | None], str] = {}
        self.effects: Counter[str] = Counter()
        self.flaky = 0.0
        self.failed = 0
        self.fenced = 0
        self.repeated = 0
        self.problems: list[str] = []

    async def effect(self, what: str, *, key: str) -> str:
        """Let `what` happen, once for each `key`. `what` names the intention: the same one is to come with one key."""
        await self._travel()
        first = self._keys.setdefault(what, key)
        if first != key:
            self.problems.append(f"effect {what}: happened with the key {first}, and again with {key}")
        self.repeated += self.effects[key]
        self.effects[key] = 1
        await self._travel()
        return what

    async def guarded(self, lock: str, token: int, holder: str, *, attempt: int | None = None) -> None:
        """Write where only the holder of `lock` may: whoever comes with an older token than one seen is refused. An
        `attempt` is made by one process: another one that goes on with it is to show a newer token."""
        await self._travel()
        process = current_process.get()
        here = process.name if process is not None else "no process"
        there = self._attempts.setdefault((lock, token, attempt), here)
        if attempt is not None and there != here:
            self.problems.append(f"lock {lock}: token {token} was shown by {holder} in {there}, and in {here}")
        tokens = self._tokens.setdefault(lock, {})
        if tokens and token < max(tokens):
            self.fenced += 1
            raise Fenced(f"lock {lock}: expected a token of at least {max(tokens)}, saw {token}")
        if tokens.setdefault(token, holder) != holder:
            self.problems.append(f"lock {lock}: token {token} was shown by {tokens[token]} and by {holder}")
        await self._travel()

    async def _travel(self) -> None:
        await asyncio.sleep(self._chance.random() * EFFECT_S_MAX)
        if self.flaky and self._chance.random() < self.flaky:
            self.failed += 1
            raise ConnectionError("the world is flaky, on purpose")

    def __repr__(self) -> str:
        return f"World(effects={len(self.effects)}, repeated={self.repeated}, failed={self.failed})"
