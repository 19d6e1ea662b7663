"""When a message is sent again: never before its time, always in the end, and not without bound."""

from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from holdfast import UnclaimedRun
from holdfast.integrations.celery.rules import Sent, select

PATIENCE_S, PATIENCE_MAX_S = 4.0, 32.0


def left(run_id: str = "r", *, is_new: bool = True, mark: str = "1.1") -> UnclaimedRun:
    return UnclaimedRun(
        id=run_id, tenant="t", user="ana", workflow="w", version=1, is_new=is_new, since=100.0, mark=mark
    )


def chosen(found: list[UnclaimedRun], known: dict[str, Sent], now: float) -> tuple[list[UnclaimedRun], dict[str, Sent]]:
    return select(found, known, now=now, patience_s=PATIENCE_S, patience_max_s=PATIENCE_MAX_S)


@given(st.booleans(), st.lists(st.floats(0.1, 10), min_size=1, max_size=200))
def test_messages_about_a_run_are_patient_and_grow_rare(is_new: bool, pauses: list[float]) -> None:
    now, known, times = 100.0, {}, []
    for pause in pauses:
        runs, known = chosen([left(is_new=is_new)] * 2, known, now)
        assert len(runs) <= 1
        times += [now] * len(runs)
        now += pause
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap >= min(PATIENCE_S * 2**n, PATIENCE_MAX_S) - 1e-9 for n, gap in enumerate(gaps))
    assert all(gap <= min(PATIENCE_S * 2**n, PATIENCE_MAX_S) + max(pauses) + 1e-9 for n, gap in enumerate(gaps))
    if is_new:
        assert all(at >= 100.0 + PATIENCE_S for at in times)
    else:
        assert times[0] == 100.0
    assert len(times) <= math.log2(PATIENCE_MAX_S / PATIENCE_S) + 3 + (now - 100.0) / PATIENCE_MAX_S


def test_a_run_that_somebody_moved_meanwhile_is_a_new_one() -> None:
    _, known = chosen([left(is_new=False)], {}, 200.0)
    assert chosen([left(is_new=False)], known, 201.0)[0] == []
    assert len(chosen([left(is_new=False, mark="2.2")], known, 201.0)[0]) == 1


def test_what_was_taken_is_forgotten() -> None:
    _, known = chosen([left("a", is_new=False), left("b", is_new=False)], {}, 200.0)
    assert list(chosen([left("b", is_new=False)], known, 201.0)[1]) == ["b"]
