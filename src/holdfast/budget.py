"""What a piece of work may use up: calls, tokens, money. Narrowed for parts of it, and spent by the part and the whole.

Counted in memory, for one process and one piece of work; what a user may spend in a month is a quota, and durable.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from holdfast.errors import BudgetExceeded, InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What was used up so far; `money_usd` in US dollars, exact."""

    calls: int = 0
    tokens: int = 0
    money_usd: Decimal = Decimal(0)


class Budget:
    """Limits on calls, tokens and US dollars, with what is spent of them. `None` is no limit. Safe between threads.

    `spend` before the work: all of it or nothing. `charge` after it: what was really used, which may be more.

    Example: `Budget(tokens=10_000, money_usd="0.50").spend(tokens=800)`
    """

    __slots__ = ("_lock", "_parent", "_spent", "calls", "money_usd", "tokens")

    def __init__(
        self,
        *,
        calls: int | None = None,
        tokens: int | None = None,
        money_usd: Decimal | str | float | None = None,
    ) -> None:
        self.calls = None if calls is None else _count("calls", calls)
        self.tokens = None if tokens is None else _count("tokens", tokens)
        self.money_usd = None if money_usd is None else _money(money_usd)
        self._parent: Budget | None = None
        self._spent = Spent()
        self._lock = threading.Lock()

    def part(self, part: Budget) -> Budget:
        """A new budget with the limits of `part` that spends from this one too, and so can never exceed it."""
        made = Budget(calls=part.calls, tokens=part.tokens, money_usd=part.money_usd)
        made._parent = self
        made._lock = self._lock  # one lock for the whole family: a spend is checked and counted on every level at once
        return made

    @property
    def spent(self) -> Spent:
        """What was used up, that of its parts included."""
        return self._spent

    @property
    def is_exhausted(self) -> bool:
        """Whether a limit of this budget, or of one that it is a part of, is reached."""
        return any(
            limit is not None and spent >= limit for budget in self._family() for _, limit, spent in budget._limits()
        )

    def spend(self, *, calls: int = 0, tokens: int = 0, money_usd: Decimal | str | float = 0) -> None:
        """Take all of it, here and in every budget above, or none. Raises BudgetExceeded with `limit` and `left`."""
        asked = _amounts(calls, tokens, money_usd)
        with self._lock:
            for budget in self._family():
                budget._check(asked)
            self._add(asked)

    def charge(self, *, calls: int = 0, tokens: int = 0, money_usd: Decimal | str | float = 0) -> None:
        """Count what was used already. Never refused: what is spent is spent, and the next `spend` will say no."""
        amounts = _amounts(calls, tokens, money_usd)
        with self._lock:
            self._add(amounts)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={spent}/{'-' if limit is None else limit}" for name, limit, spent in self._limits())
        return f"Budget({told})"

    def __copy__(self) -> Budget:
        return self

    def __deepcopy__(self, memo: object) -> Budget:
        return self

    def _family(self) -> Iterator[Budget]:
        budget: Budget | None = self
        while budget is not None:
            yield budget
            budget = budget._parent

    def _limits(self) -> tuple[tuple[str, int | Decimal | None, int | Decimal], ...]:
        return (
            ("calls", self.calls, self._spent.calls),
            ("tokens", self.tokens, self._spent.tokens),
            ("money_usd", self.money_usd, self._spent.money_usd),
        )

    def _check(self, asked: Spent) -> None:
        wanted: tuple[int | Decimal, ...] = (asked.calls, asked.tokens, asked.money_usd)
        for (name, limit, spent), want in zip(self._limits(), wanted, strict=True):
            left = None if limit is None else limit - spent
            if want and left is not None and want > left:
                raise BudgetExceeded(
                    f"budget: {name}: expected at most {left} more of {limit}, asked for {want}; give the work a"
                    " larger budget, or end it with what it has",
                    name=name,
                    limit=limit,
                    left=left,
                    asked=want,
                )

    def _add(self, amounts: Spent) -> None:
        for budget in self._family():
            spent = budget._spent
            budget._spent = Spent(
                calls=spent.calls + amounts.calls,
                tokens=spent.tokens + amounts.tokens,
                money_usd=spent.money_usd + amounts.money_usd,
            )


def _amounts(calls: int, tokens: int, money_usd: Decimal | str | float) -> Spent:
    return Spent(calls=_count("calls", calls), tokens=_count("tokens", tokens), money_usd=_money(money_usd))


def _count(name: str, value: object) -> int:
    if type(value) is not int or value < 0:
        raise InvalidInput(f"budget: {name}: expected a whole number of at least 0, saw {value!r}", name=name)
    return value


def _money(value: Decimal | str | float) -> Decimal:
    try:
        money = Decimal(str(value))
    except ArithmeticError:
        money = Decimal("NaN")
    if not money.is_finite() or money < 0:
        raise InvalidInput(f"budget: money_usd: expected dollars of at least 0, saw {value!r}", name="money_usd")
    return money
