"""Fair shares: in whatever order users put runs in line and workers take them, none gets ahead by more than a share."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from holdfast import Engine, RunContext, Workflow
from holdfast.store.contract.records import Query, Scope
from holdfast.store.memory import MemoryStore
from holdfast.workflow.model.fairness import BEGUN, front_of, next_place, served_together

TICK_S = 0.001
START_S = 1_800_000_000.0
USERS = st.sampled_from(["ana", "bob", "cy"])


class Model:
    """A line as a store keeps it, one process that fills it and one that serves it."""

    def __init__(self) -> None:
        self.now = START_S
        self.line: list[tuple[float, int, str]] = []
        self.last: dict[str, float] = {}
        self.known: float | None = None
        self.count = 0

    def start(self, user: str) -> float:
        self.now += TICK_S
        self.count += 1
        self.known = front_of([place for place, _, _ in sorted(self.line)], known=self.known, now=self.now)
        place = self.last[user] = next_place(self.last.get(user), front=self.known)
        self.line.append((place, self.count, user))
        return place

    def serve(self) -> str | None:
        self.now += TICK_S
        if not self.line:
            return None
        first = min(self.line)
        self.line.remove(first)
        return first[2]

    def waiting(self) -> set[str]:
        return {user for _, _, user in self.line}


@given(st.lists(st.one_of(st.none(), USERS, st.tuples(USERS, st.integers(2, 40))), max_size=60))
def test_users_who_both_wait_are_served_alike(acts: list[str | tuple[str, int] | None]) -> None:
    """None serves one; a user starts one run, or many at once. While two users have runs in line all the time, neither
    is served more than two runs ahead of the other."""
    model = Model()
    ahead: Counter[tuple[str, str]] = Counter()
    least: Counter[tuple[str, str]] = Counter()

    def serve() -> None:
        before = model.waiting()
        served = model.serve()
        for one in before:
            for other in before - {one}:
                ahead[one, other] += (served == one) - (served == other)
                least[one, other] = min(least[one, other], ahead[one, other])
                assert ahead[one, other] - least[one, other] <= 2
        for pair in [pair for pair in ahead if not model.waiting().issuperset(pair)]:
            del ahead[pair], least[pair]

    for act in acts:
        if act is None:
            serve()
            continue
        user, count = act if isinstance(act, tuple) else (act, 1)
        for _ in range(count):
            before = model.last.get(user, 0.0)
            place = model.start(user)
            assert before < place <= model.now + 1e-6, "a user's places rise, and none lies in the future"
    while model.line:
        serve()


def test_ten_behind_four_hundred_wait_for_ten() -> None:
    model = Model()
    for _ in range(400):
        model.start("ana")
    assert [model.serve() for _ in range(50)] == ["ana"] * 50
    for _ in range(10):
        model.start("bob")
    served = [model.serve() for _ in range(20)]
    assert Counter(served) == {"ana": 10, "bob": 10}


def test_who_was_served_alone_owes_nothing_later() -> None:
    """Ana used the workers while nobody else wanted them; that is no reason to let Bob's many go first now."""
    model = Model()
    for _ in range(400):
        model.start("ana")
    while model.line:
        model.serve()
    for user in ("bob", "ana") * 20:
        model.start(user)
    assert Counter(model.serve() for _ in range(20)) == {"ana": 10, "bob": 10}


def test_runs_that_have_begun_hide_no_front() -> None:
    assert front_of([BEGUN, BEGUN, 7.0], known=3.0, now=9.0) == 7.0
    assert front_of([BEGUN, BEGUN], known=3.0, now=9.0) == 3.0
    assert front_of([BEGUN], known=None, now=9.0) == 9.0
    assert front_of([], known=3.0, now=9.0) == 9.0


def test_one_line_holds_what_one_process_serves() -> None:
    served = [("a@1", "b@1"), ("b@1", "c@1"), ("d@1",)]
    assert served_together("b@1", served) == ("a@1", "b@1", "c@1")
    assert served_together("d@1", served) == ("d@1",)
    assert served_together("x@1", served) == ("x@1",)


async def test_two_engines_without_a_place_never_give_out_one_place_twice() -> None:
    """Both start runs of one user at the same time; each loses races for his record, and asks anew."""
    wf = Workflow("jobs", data=dict)

    @wf.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        ctx.data["seen"] = ctx.input

    wf.final("done")
    store = MemoryStore()
    async with Engine(store, wf, works=False) as one, Engine(store, wf, works=False) as other:
        starts = (
            (one, other)[number % 2].start("jobs", number, id=f"J-{number}", user="ana") for number in range(20)
        )  # fmt: skip
        await asyncio.gather(*starts)
        line = await store.scan(Scope.system(), Query(kind="run", owner="", by_due=True))
        places = [record.due for record in line.records if record.due is not None]
        assert len(set(places)) == len(places) == 20
        assert places[-1] - places[0] < 1.0, "places are shares, no waiting times"
    async with Engine(store, wf, runs_max=3) as engine:
        for number in range(20):
            assert await (await engine.get(f"J-{number}", user="ana")).result() == {"seen": number}
