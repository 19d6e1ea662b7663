"""Priorities: they order a user's own runs, take nothing from other users, and starve nobody."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import InvalidInput, RunContext, Workflow
from holdfast.store.contract.records import Query, Scope
from holdfast.testing import Lab
from holdfast.workflow.model.fairness import STRIDES, Priority, front_of, next_place, priority_of
from tests.engine.labs import ON_MEMORY, OpenLab

TICK_S = 0.001
START_S = 1_800_000_000.0
SHARES_MAX = sum(1 / stride for stride in STRIDES.values())
Flow = tuple[str, Priority]


class Model:
    """A line as a store keeps it, one process that fills it and one that serves it."""

    def __init__(self) -> None:
        self.now = START_S
        self.line: list[tuple[float, int, Flow]] = []
        self.last: dict[Flow, float] = {}
        self.known: float | None = None
        self.count = 0

    def start(self, user: str, priority: Priority = "normal", *, times: int = 1) -> None:
        for _ in range(times):
            self.now += TICK_S
            self.count += 1
            self.known = front_of([place for place, _, _ in sorted(self.line)], known=self.known, now=self.now)
            flow: Flow = (user, priority)
            self.last[flow] = next_place(self.last.get(flow), front=self.known, priority=priority)
            self.line.append((self.last[flow], self.count, flow))

    def serve(self) -> Flow:
        self.now += TICK_S
        first = min(self.line)
        self.line.remove(first)
        return first[2]

    def users(self, count: int) -> Counter[str]:
        return Counter(self.serve()[0] for _ in range(count))


@pytest.mark.parametrize("priority", ["urgent", "normal"])
def test_four_hundred_of_one_user_delay_ten_of_another_by_ten(priority: Priority) -> None:
    model = Model()
    model.start("ana", priority, times=400)
    model.users(50)
    model.start("bob", times=10)
    assert model.users(20) == {"ana": 10, "bob": 10}


def test_one_who_fills_all_his_lines_has_at_most_their_shares() -> None:
    model = Model()
    for priority in STRIDES:
        model.start("ana", priority, times=400)
    model.start("bob", times=100)
    served = Counter[str]()
    while served["bob"] < 100:
        served[model.serve()[0]] += 1
    assert served["ana"] <= 100 * SHARES_MAX + len(STRIDES)


def test_an_urgent_run_passes_what_its_user_has_in_line() -> None:
    model = Model()
    model.start("ana", times=400)
    model.start("ana", "urgent", times=5)
    assert Counter(model.serve()[1] for _ in range(11))["urgent"] == 5


def test_a_background_run_is_passed_and_still_served() -> None:
    """However much comes in after it: each user's flows pass it by a stride each."""
    model = Model()
    model.start("ana", times=100)
    model.start("ana", "background")
    order: list[Flow] = []
    while ("ana", "background") not in order:
        for user in ("ana", "bob"):
            model.start(user, "urgent")
            model.start(user)
        order.append(model.serve())
    assert 8 <= len(order) <= 5 * STRIDES["background"]


ACTS = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.sampled_from(["ana", "bob", "cy"]), st.sampled_from(sorted(STRIDES)), st.integers(1, 30)),
    ),
    max_size=60,
)


@given(ACTS)
def test_whoever_has_a_normal_run_in_line_is_served_next_but_for_the_others_shares(
    acts: list[tuple[str, Priority, int] | None],
) -> None:
    """Between two turns of a user who waits at normal, each other user gets one of each of his flows, and one more of
    one that came in at the front."""
    model = Model()
    since: dict[str, Counter[str]] = {}

    def serve() -> None:
        user, priority = model.serve()
        for other in since.values():
            other[user] += 1
        if priority == "normal":
            since.pop(user, None)
        for _, _, (waiting, its) in model.line:
            if its == "normal":
                since.setdefault(waiting, Counter())
        for waiting, served in since.items():
            for other, count in served.items():
                assert other == waiting or count <= 2 * len(STRIDES), (waiting, served)

    for act in acts:
        if act is None:
            if model.line:
                serve()
        else:
            user, priority, times = act
            model.start(user, priority, times=times)
            for _, _, (waiting, its) in model.line:
                if its == "normal":
                    since.setdefault(waiting, Counter())
    while model.line:
        serve()


def test_what_is_no_priority_is_refused() -> None:
    with pytest.raises(InvalidInput, match="priority: expected one of urgent, normal, background, saw 'high'"):
        priority_of("high")


def jobs(order: list[str]) -> Workflow:
    workflow = Workflow("jobs", data=dict)

    @workflow.state("work", start=True, to="done")
    async def work(ctx: RunContext) -> None:
        order.append(ctx.input)

    workflow.final("done")
    return workflow


async def filled(open_lab: OpenLab, order: list[str]) -> Lab:
    """A door with runs in line: many normal ones of ana, then a background one, then urgent ones."""
    lab = await open_lab(jobs(order), works=False)
    for number in range(20):
        await lab.engine.start("jobs", f"n{number}", user="ana")
    await lab.engine.start("jobs", "b", user="ana", priority="background")
    for number in range(3):
        await lab.engine.start("jobs", f"u{number}", user="ana", priority="urgent")
    return lab


async def test_a_worker_takes_them_in_the_order_of_their_line(open_lab: OpenLab) -> None:
    order: list[str] = []
    lab = await filled(open_lab, order)
    await lab.restart(jobs(order), works=True, runs_max=1)
    await lab.settle()
    assert set(order[:7]) >= {"u0", "u1", "u2"}
    assert 10 <= order.index("b") < 23


@ON_MEMORY
async def test_a_priority_is_kept_and_inherited(open_lab: OpenLab) -> None:
    parent = Workflow("parent", data=dict)
    parent.child("both", workflow="jobs", start=True, to="end", input=lambda data: "child")
    parent.final("end")
    lab = await open_lab(parent, jobs([]))
    run = await lab.start("parent", priority="background")
    await lab.settle()
    records = (await lab.engine.store.scan(Scope.system(), Query(kind="run"))).records
    runs = [(await lab.client.get(record.key.id)).run for record in records]
    assert {each.workflow: each.priority for each in runs} == {"parent": "background", "jobs": "background"}
    assert run.run.priority == "background"
    with pytest.raises(InvalidInput, match="priority: expected one of"):
        await lab.start("parent", priority="high")
