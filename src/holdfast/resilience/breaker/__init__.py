"""Circuit breakers that are right under asyncio.

`machine` is the breaker without a clock, by `rules` and over a `window`; `breaker` is what calls go through, `keyed`
one for each key of a dependency. `outcomes` says what an exception counts as, `presets` have numbers for usual kinds
of dependencies.
"""

from holdfast.resilience.breaker.breaker import BreakerEvent, BreakerView, CircuitBreaker
from holdfast.resilience.breaker.keyed import KeyedBreakers
from holdfast.resilience.breaker.machine import BreakerSnapshot
from holdfast.resilience.breaker.options import Adaptive, BreakerOptions
from holdfast.resilience.breaker.outcomes import Kind, Outcome
from holdfast.resilience.breaker.presets import preset

__all__ = [
    "Adaptive",
    "BreakerEvent",
    "BreakerOptions",
    "BreakerSnapshot",
    "BreakerView",
    "CircuitBreaker",
    "KeyedBreakers",
    "Kind",
    "Outcome",
    "preset",
]
