"""What keeps a dependency that is ill from making everything else ill.

A `graph` says who needs whom. Each dependency has a breaker (`breaker/`), and `rules` says from their states who is ill
and who only suffers from it, which openings are one incident, and when it is likelier this process that is ill.
`healing` says who may be probed next. `dependencies` puts
these together, and `healer` carries the plans out while a program runs.
"""

from holdfast.resilience.breaker import (
    Adaptive,
    BreakerEvent,
    BreakerOptions,
    BreakerView,
    CircuitBreaker,
    KeyedBreakers,
    preset,
)
from holdfast.resilience.dependencies import Dependencies, DependencyEvent, DependencyView
from holdfast.resilience.graph import Dependency

__all__ = [
    "Adaptive",
    "BreakerEvent",
    "BreakerOptions",
    "BreakerView",
    "CircuitBreaker",
    "Dependencies",
    "Dependency",
    "DependencyEvent",
    "DependencyView",
    "KeyedBreakers",
    "preset",
]
