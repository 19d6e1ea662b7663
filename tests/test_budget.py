"""Budgets: all or nothing before the work, the truth after it, and parts that never exceed the whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Budget, BudgetExceeded, InvalidInput
from holdfast.budget import Spent


def test_a_spend_is_all_or_nothing() -> None:
    budget = Budget(calls=3, tokens=100)
    budget.spend(calls=1, tokens=60)
    with pytest.raises(BudgetExceeded, match="at most 40 more of 100, asked for 41") as caught:
        budget.spend(calls=1, tokens=41)
    assert (caught.value.name, caught.value.limit, caught.value.left, caught.value.asked) == ("tokens", 100, 40, 41)
    assert budget.spent == Spent(calls=1, tokens=60)
    budget.spend(tokens=40)
    assert budget.is_exhausted


def test_money_is_exact() -> None:
    budget = Budget(money_usd=0.3)
    for _ in range(3):
        budget.spend(money_usd="0.1")
    assert budget.spent.money_usd == Decimal("0.3")
    with pytest.raises(BudgetExceeded, match="money_usd"):
        budget.spend(money_usd=Decimal("0.000001"))


def test_what_was_used_is_counted_even_beyond_the_limit() -> None:
    budget = Budget(tokens=100)
    budget.charge(tokens=130)
    assert budget.spent.tokens == 130
    with pytest.raises(BudgetExceeded, match="-30 more"):
        budget.spend(tokens=1)
    budget.spend(calls=1)


def test_threads_together_never_exceed_it() -> None:
    whole = Budget(calls=100)
    parts = [whole.part(Budget(calls=40)) for _ in range(8)]

    def spend_all(part: Budget) -> int:
        spent = 0
        for _ in range(60):
            try:
                part.spend(calls=1)
                spent += 1
            except BudgetExceeded:
                pass
        return spent

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend_all, parts)) == 100
    assert whole.spent.calls == 100
    assert max(part.spent.calls for part in parts) <= 40


@given(
    limits=st.lists(st.one_of(st.none(), st.integers(0, 50)), min_size=1, max_size=4),
    spends=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=30),
)
def test_no_budget_of_a_family_exceeds_its_limit(limits: list[int | None], spends: list[tuple[int, int]]) -> None:
    family = [Budget(tokens=limits[0])]
    for limit in limits[1:]:
        family.append(family[-1].part(Budget(tokens=limit)))
    for index, tokens in spends:
        budget = family[index % len(family)]
        before = [each.spent for each in family]
        try:
            budget.spend(tokens=tokens)
        except BudgetExceeded:
            assert [each.spent for each in family] == before
    for part, whole in zip(family[1:], family, strict=False):
        assert part.spent.tokens <= whole.spent.tokens
    for each, limit in zip(family, limits, strict=True):
        assert limit is None or each.spent.tokens <= limit


@pytest.mark.parametrize("wrong", [{"tokens": -1}, {"calls": 1.5}, {"tokens": True}, {"money_usd": "much"}])
def test_amounts_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    name = next(iter(wrong))
    with pytest.raises(InvalidInput, match=name):
        Budget(**wrong)
    with pytest.raises(InvalidInput, match=name):
        Budget().spend(**wrong)


def test_its_repr_tells_what_is_left_of_what() -> None:
    budget = Budget(tokens=10)
    budget.charge(calls=1, tokens=4)
    assert repr(budget) == "Budget(calls=1/-, tokens=4/10, money_usd=0/-)"
