"""One breaker for each key of a dependency: a tenant, an API key, a host; the idle ones are forgotten.

What a server says of one key opens that key's breaker; what says that the server is ill counts for the provider's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from holdfast.clock import Randomness, monotonic_s, system_randomness
from holdfast.errors import InvalidInput
from holdfast.resilience.breaker.breaker import CircuitBreaker
from holdfast.resilience.breaker.options import BreakerOptions
from holdfast.resilience.breaker.outcomes import IGNORED, SUCCESS, Classify, Kind, Outcome

P = ParamSpec("P")
T = TypeVar("T")
KEYS_MAX = 10_000


class KeyedBreakers:
    """A provider's breaker, and one for each of its keys. At most `keys_max` are kept: whoever was not asked for
    longest is forgotten, one that still refuses calls last."""

    def __init__(
        self,
        name: str,
        options: BreakerOptions,
        *,
        keys_max: int = KEYS_MAX,
        clock: Callable[[], float] = monotonic_s,
        randomness: Randomness | None = None,
    ) -> None:
        if keys_max < 1:
            raise InvalidInput(f"breakers of {name}: expected keys_max 1 or more, saw {keys_max!r}")
        self.provider = CircuitBreaker(name, options, clock=clock, randomness=randomness)
        self._options = options.but(throttle_opens=True, classify=_only_throttled(options.classify), ramp_s=0.0)
        self._keys_max = keys_max
        self._clock = clock
        self._randomness = randomness or system_randomness()
        self._lock = threading.Lock()
        self._breakers: OrderedDict[str, CircuitBreaker] = OrderedDict()

    def of(self, key: str) -> CircuitBreaker:
        """The breaker of one key."""
        with self._lock:
            breaker = self._breakers.get(key)
            if breaker is None:
                while len(self._breakers) >= self._keys_max:
                    self._forget_one()
                name = f"{self.provider.name}/{key}"
                breaker = CircuitBreaker(name, self._options, clock=self._clock, randomness=self._randomness)
                self._breakers[key] = breaker
            self._breakers.move_to_end(key)
            return breaker

    async def call(self, key: str, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The call through the key's breaker and the provider's. Raises BreakerOpen of the one that is open."""
        provider, of_key = self.provider, self.of(key)
        passed_key = of_key.acquire()
        try:
            result = await provider.call(function, *args, **kwargs)
        except BaseException as error:
            of_key.settle(passed_key, of_key.classify(error), 0.0)
            raise
        of_key.settle(passed_key, SUCCESS, 0.0)
        return result

    def __len__(self) -> int:
        return len(self._breakers)

    def __repr__(self) -> str:
        return f"KeyedBreakers({self.provider.name!r}, keys={len(self)})"

    def _forget_one(self) -> None:
        for key, breaker in self._breakers.items():
            if not breaker.is_shut:
                del self._breakers[key]
                return
        self._breakers.popitem(last=False)


def _only_throttled(classify: Classify) -> Classify:
    """Of all failures only those count that are about the key."""

    def judge(error: Exception) -> Outcome:
        outcome = classify(error)
        return outcome if outcome.kind is Kind.THROTTLED else IGNORED

    return judge
