"""Whether the cache can be used, and what it takes until it can be used again.

Whether its server is there is the business of the breaker that all calls go through (`servers/breaker`); here is only
whether what it holds can be believed. Two facts decide. *Up*: it is in the life that we know, and answered every call
since. *Owed*: a commit of ours may not have reached it, and nobody was told: the generation is to be raised. It is
usable when it is up and nothing is owed; until then everything is read from the truth, and every commit raises the
generation in its own transaction.
"""

from __future__ import annotations

import asyncio

from holdfast.errors import HoldfastError
from holdfast.logs import get_logger
from holdfast.store.mirror.cache import Cache, CacheLost
from holdfast.store.mirror.figures import Tally
from holdfast.store.mirror.generation import Generation
from holdfast.store.mirror.rules import Promise
from holdfast.store.servers.breaker import refused_for_s
from holdfast.store.writing.background import Background

log = get_logger(__name__)


class Link:
    """The way to the cache. Calls are made on a running loop; what mends it runs in the background of one of them."""

    def __init__(
        self, cache: Cache, generation: Generation, background: Background, promise: Promise, tally: Tally
    ) -> None:
        self._cache = cache
        self._generation = generation
        self._background = background
        self._promise = promise
        self._tally = tally
        self._life: bytes | None = None
        self._is_up = False
        self._owed = self._paid = 0
        self._trouble: str | None = None

    @property
    def is_usable(self) -> bool:
        """Whether the cache may be asked; if not, every commit of ours raises the generation."""
        return self._is_up and not self._is_owed

    @property
    def is_up(self) -> bool:
        """Whether the cache may be told of commits."""
        return self._is_up

    @property
    def life(self) -> bytes:
        """The life of the cache that we believe in."""
        assert self._life is not None, "only asked for while the link is up"
        return self._life

    def weakness(self) -> str | None:
        """Why the cache is not used; None while it is, and before it was tried."""
        breaker = self._cache.server.breaker
        if self._trouble is None and breaker.is_shut:
            view = breaker.look()
            return f"the cache is not used: its breaker is {view.state} ({view.reason})"
        return self._trouble

    def tend(self) -> None:
        """See to it that somebody mends what is not in order."""
        if not self.is_usable:
            self._background.ensure("mend", self._mend)

    def lost(self, error: CacheLost, *, life: bytes) -> None:
        """A call that believed in `life` failed."""
        if not self._is_up or life != self._life:
            return
        self._is_up = False
        self._trouble = f"the cache is not used: {error}"
        self._tally.losses += 1
        log.warning("cache_lost", reason=str(error))
        self.tend()

    def owe(self) -> None:
        """What the cache holds may be older than a commit of ours: raise the generation as soon as possible."""
        self._owed += 1
        self.tend()

    async def invalidate(self) -> None:
        """Owe, and pay at once. Raises the truth's errors: then it is paid as soon as it can be."""
        self.owe()
        await self._raise()

    async def settle(self) -> None:
        """Pay what is owed before the truth is closed. Where it cannot be: what is cached ends by its age."""
        if self._is_owed:
            try:
                await self._raise()
            except HoldfastError as error:
                log.warning("cache_not_invalidated", reason=error.message)

    @property
    def _is_owed(self) -> bool:
        return self._paid < self._owed

    async def _mend(self) -> None:
        while not self.is_usable:
            try:
                await (self._raise() if self._is_owed else self._attach())
            except (CacheLost, HoldfastError) as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error  # a COMMIT that was cancelled says that it is unknown
                if self._trouble is None:
                    log.warning("cache_not_reached", reason=str(error))
                self._trouble = f"the cache is not used: {error}"
                await asyncio.sleep(max(self._promise.probe_first_s, refused_for_s(error)))
        if self._trouble is not None:
            log.info("cache_back")
            self._trouble = None

    async def _raise(self) -> None:
        owed = self._owed  # what is owed from now on may be committed after the transaction that raises
        await self._generation.raised()
        self._paid = owed
        self._tally.raises += 1

    async def _attach(self) -> None:
        """Believe in the life that the server is in, once nobody believes what was there from another one."""
        there, begun = await self._cache.meet()
        if begun or (self._life is not None and there != self._life):
            await self._raise()
        else:
            await self._generation.read()
        life = begun or there
        if await self._cache.begin(there, life) != life:
            raise CacheLost(f"{self._cache.place}: somebody else is about to use it again")
        self._life, self._is_up = life, True

    def __repr__(self) -> str:
        return f"Link({self._cache!r}, up={self._is_up}, owed={self._is_owed})"
