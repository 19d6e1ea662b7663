"""How much goes to a dependency at once, for how long, and how often again.

`line` is the bulkhead without a loop, `rules` has the formulas of limits, budgets and waits; `bulkhead`, `limit`,
`retry` and `deadline` are what calls meet, and `guard` is all of them and the breakers in their order.
"""

from holdfast.resilience.traffic.bulkhead import Bulkhead, BulkheadView
from holdfast.resilience.traffic.deadline import Deadline
from holdfast.resilience.traffic.guard import Guard
from holdfast.resilience.traffic.limit import AdaptiveLimit
from holdfast.resilience.traffic.retry import RetryBudget, retry
from holdfast.resilience.traffic.rules import Aimd, Backoff, Gradient

__all__ = [
    "AdaptiveLimit",
    "Aimd",
    "Backoff",
    "Bulkhead",
    "BulkheadView",
    "Deadline",
    "Gradient",
    "Guard",
    "RetryBudget",
    "retry",
]
