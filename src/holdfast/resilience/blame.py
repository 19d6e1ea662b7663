"""Whose failure an error is: written on the error by the first breaker that counted it, and read by those above.

An agent whose model fails raises too, mostly another error than the model's. What caused it is in its chain, so the
blame stays with the model, and the agent's breaker learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.errors import BreakerOpen
from holdfast.resilience.breaker.outcomes import IGNORED, Classify, Kind, Outcome
from holdfast.resilience.graph import Graph

_MARK = "_holdfast_blamed"
CHAIN_MAX = 50


def blaming(graph: Graph, name: str, classify: Classify) -> Classify:
    """The classifier of `name`'s breaker: what is the fault of something that it needs is none of its own."""
    below = graph.below(name)

    def judge(error: Exception) -> Outcome:
        if any(blamed in below for blamed in blamed_in(error)):
            return IGNORED
        if isinstance(error, BreakerOpen):  # refused by a breaker that it does not say it needs: no call was made
            return IGNORED
        outcome = classify(error)
        if outcome.kind is Kind.FAILURE:
            vars(error).setdefault(_MARK, name)
        return outcome

    return judge


def blamed_in(error: BaseException) -> Iterator[str]:
    """The dependencies that the error, or what caused it, is blamed on."""
    left, seen = [error], set[int]()
    while left and len(seen) < CHAIN_MAX:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BreakerOpen):
            yield str(one.facts.get("blamed") or one.facts.get("breaker"))
        if _MARK in vars(one):
            yield vars(one)[_MARK]
        left += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        if isinstance(one, BaseExceptionGroup):
            left += one.exceptions
