"""Networks: each agent after what it reads, failures by policy, partial results kept, events; SPEC C6, S2 and more."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from holdfast import (
    Agent,
    AgentCall,
    AgentExecutionCore,
    AgentNetwork,
    AgentType,
    BreakerOpen,
    DeadlineExceeded,
    ErrorType,
    InvalidDefinition,
    NetworkFailed,
    UserExecutionContext,
    WorkflowError,
    WrongContext,
)
from tests.agents.bodies import ANA, Answer, Deafest, Seen, brittle, deaf, fails, hangs, until

QUICK = AgentType(name="quick", timeout_s=0.1, grace_s=0.05)


def adds(name: str, extra: int = 1) -> Agent:
    """An agent that adds to what it reads, of several to their sum."""

    async def add(value: Any) -> int:
        await asyncio.sleep(0)
        return extra + (sum(value.values()) if isinstance(value, dict) else value)

    return Agent(add, name=name)


def broken(name: str) -> Agent:
    """An agent that fails."""
    return Agent(fails, name=name)


def layered(layers: int, width: int, made: Callable[[str], Agent] = adds) -> list[list[Agent]]:
    """Layers of agents, named layer-number."""
    return [[made(f"{layer}-{number}") for number in range(width)] for layer in range(layers)]


class TestBuilding:
    def test_a_ring_is_refused(self) -> None:
        with pytest.raises(
            InvalidDefinition, match=r"network net: agents that wait for each other: a -> b -> a|b -> a"
        ):
            AgentNetwork("net", [[adds("a"), adds("b")]], [("a", "b"), ("b", "a")])

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"edges": [("a", "ghost")]}, "no agent ghost"),
            ({"edges": [("ghost", "a")]}, "no agent ghost"),
            ({"edges": [("input", "ghost")]}, "no agent ghost"),
            ({"edges": [("a", "b", "shrug")]}, "saw 'shrug'"),
            ({"edges": [("a",)]}, r"expected edges \(source, target\)"),
            ({"on_failure": {"ghost": "skip"}}, "no agent ghost"),
            ({"fallbacks": {"ghost": 1}}, "a fallback for ghost"),
            ({"concurrency": 0}, "concurrency of 1"),
            ({"timeout_s": 0}, "timeout_s above 0"),
            ({"layers": []}, "expected 1 to"),
            ({"layers": [[adds("a")], [adds("a")]]}, "come twice"),
            ({"layers": [[adds("input")]]}, "name the agent otherwise"),
            ({"layers": [["a"]]}, "wrap it"),
        ],
    )
    def test_what_has_no_meaning_is_refused(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidDefinition, match=words):
            AgentNetwork("net", **{"layers": [[adds("a"), adds("b")]], **changes})


class TestRunning:
    async def test_each_reads_what_it_is_to_read(self, core: AgentExecutionCore) -> None:
        """One source: its result. Several: a dict by name. The network's input where an edge says so."""
        given: dict[str, Any] = {}

        def records(name: str) -> Agent:
            async def body(value: Any) -> str:
                given[name] = value
                return f"<{name}>"

            return Agent(body, name=name)

        network = AgentNetwork(
            "net",
            [[records("a"), records("b")], [records("c"), records("d")]],
            [("a", "c"), ("a", "d"), ("b", "d"), ("input", "d")],
        )
        result = await network.run(ANA, {"n": 1}, core=core)
        assert given == {"a": {"n": 1}, "b": {"n": 1}, "c": "<a>", "d": {"a": "<a>", "b": "<b>", "input": {"n": 1}}}
        assert result.output == {"c": "<c>", "d": "<d>"}
        assert result.is_complete

    async def test_those_of_a_layer_run_side_by_side(self, core: AgentExecutionCore) -> None:
        met = asyncio.Barrier(10)

        def meets(name: str) -> Agent:
            async def body(_: Any) -> str:
                await met.wait()
                return name

            return Agent(body, name=name)

        network = AgentNetwork("net", layered(2, 10, meets))
        assert (await network.run(ANA, core=core)).is_complete

    async def test_no_more_run_at_once_than_it_says(self, core: AgentExecutionCore) -> None:
        inside, most = 0, 0

        def counts(name: str) -> Agent:
            async def body(_: Any) -> None:
                nonlocal inside, most
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.001)
                inside -= 1

            return Agent(body, name=name)

        await AgentNetwork("net", layered(2, 20, counts), concurrency=3).run(ANA, core=core)
        assert most == 3

    @pytest.mark.parametrize(("layers", "width"), [(5, 5), (5, 50)])
    async def test_five_layers_of_agents_each_reading_the_whole_layer_before(
        self, core: AgentExecutionCore, layers: int, width: int
    ) -> None:
        """25 agents, and 250 with 10,000 edges: the sum that comes out is that of the whole network."""
        result = await AgentNetwork("net", layered(layers, width)).run(ANA, 1, core=core)
        expected = 2
        for _ in range(layers - 1):
            expected = 1 + width * expected
        assert set(result.output.values()) == {expected}
        assert len(result.results) == layers * width

    @pytest.mark.parametrize("workflows", [20, 200])
    async def test_many_workflows_of_25_agents_at_once(self, core: AgentExecutionCore, workflows: int) -> None:
        """Each of a user of his own, with its own sum; all through the same agents, breakers and places."""
        network = AgentNetwork("net", layered(5, 5))
        contexts = [UserExecutionContext(user=f"user-{n}") for n in range(workflows)]
        results = await asyncio.gather(*(network.run(c, n, core=core) for n, c in enumerate(contexts)))
        for number, result in enumerate(results):
            assert result.is_complete
            assert set(result.output.values()) == {1 + 5 * (1 + 5 * (1 + 5 * (1 + 5 * (1 + number))))}

    async def test_a_run_needs_a_context(self, core: AgentExecutionCore) -> None:
        with pytest.raises(WrongContext):
            await AgentNetwork("net", [[adds("a")]]).run("ana", 1, core=core)  # type: ignore[arg-type]

    async def test_its_time_is_bounded_as_a_whole(self, core: AgentExecutionCore) -> None:
        network = AgentNetwork("net", [[Agent(hangs, name=name)] for name in ("a", "b")], timeout_s=0.1)
        with pytest.raises(DeadlineExceeded, match="network net"):
            await network.run(ANA, core=core)
        assert all(view.running == 0 for view in core.agents())


class TestFailures:
    async def test_a_failure_fails_the_network_and_keeps_what_there_is(self, core: AgentExecutionCore) -> None:
        """What is under way ends, nothing new begins, and the error has the partial result and its cause."""
        slow_ended = False

        async def slow(_: Any) -> str:
            nonlocal slow_ended
            await asyncio.sleep(0.05)
            slow_ended = True
            return "slow"

        layers = [[adds("a"), broken("bad"), Agent(slow)], [adds("after")]]
        with pytest.raises(NetworkFailed, match=r"network net: agent bad failed: ConnectionError: the model") as caught:
            await AgentNetwork("net", layers).run(ANA, 1, core=core)
        partial = caught.value.partial
        assert slow_ended
        assert dict(partial.results) == {"a": 2, "slow": "slow"}
        assert dict(partial.failures) == {"bad": "ConnectionError: the model is away"}
        assert partial.skipped == ("after",)
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert (caught.value.error_type, caught.value.is_retryable) == (ErrorType.TRANSIENT, True)

    async def test_degraded_readers_take_the_fallback(self, core: AgentExecutionCore) -> None:
        network = AgentNetwork(
            "net", [[adds("a"), broken("bad")], [adds("sum")]], on_failure={"bad": "degrade"}, fallbacks={"bad": 40}
        )
        result = await network.run(ANA, 1, core=core)
        assert result.output == 1 + 2 + 40
        assert (list(result.failures), result.skipped, result.is_complete) == (["bad"], (), False)

    async def test_skipped_readers_are_not_run_and_others_are(self, core: AgentExecutionCore) -> None:
        network = AgentNetwork(
            "net",
            [[adds("a"), broken("bad")], [adds("of-a"), adds("of-bad")], [adds("last")]],
            [("a", "of-a"), ("bad", "of-bad"), ("of-a", "last"), ("of-bad", "last", "degrade")],
            on_failure={"bad": "skip"},
            fallbacks={"of-bad": 100},
        )
        result = await network.run(ANA, 1, core=core)
        assert dict(result.results) == {"a": 2, "of-a": 3, "last": 104}
        assert result.skipped == ("of-bad",)

    @pytest.mark.parametrize("body", [deaf, hangs])
    async def test_an_agent_that_will_not_end_costs_the_network_its_time_alone(
        self, core: AgentExecutionCore, body: Any
    ) -> None:
        network = AgentNetwork(
            "net", [[adds("a"), Agent(body, name="bad", type=QUICK)], [adds("sum")]],
            on_failure={"bad": "degrade"}, fallbacks={"bad": 0},
        )  # fmt: skip
        result = await network.run(ANA, 1, core=core)
        assert result.output == 3
        assert result.failures["bad"].startswith("DeadlineExceeded")

    async def test_what_was_left_behind_does_not_change_what_came_out(self, core: AgentExecutionCore) -> None:
        deafest = Deafest()
        network = AgentNetwork(
            "net", [[Agent(deafest, name="bad", type=QUICK)]], on_failure={"bad": "degrade"}
        )  # fmt: skip
        result = await network.run(ANA, core=core)
        deafest.is_free = True
        await until(lambda: all(view.strays == 0 for view in core.agents()), "it comes to its end")
        assert dict(result.results) == {}

    async def test_an_open_breaker_in_the_middle_keeps_partial_results(self, core: AgentExecutionCore) -> None:
        """C3: the breaker of one agent opens while networks run; those that can do without it go on, complete but for
        that, and no call is made to it."""
        calls = Counter[str]()

        async def counted(_: Any) -> None:
            calls["bad"] += 1
            raise ConnectionError("away")

        bad = brittle("bad", counted)
        network = AgentNetwork(
            "net", [[adds("a")], [bad, adds("b")], [adds("sum")]], on_failure={"bad": "degrade"}, fallbacks={"bad": 0}
        )
        results = [await network.run(ANA, 1, core=core) for _ in range(4)]
        assert [result.output for result in results] == [4] * 4
        assert {result.failures["bad"].partition(":")[0] for result in results} == {"ConnectionError", "BreakerOpen"}
        assert calls["bad"] == 3


class TestChains:
    """C2, C6: the chain triage -> supervisor -> data -> optimization."""

    @staticmethod
    def chain(data: Any) -> AgentNetwork:
        async def triage(text: str) -> dict[str, str]:
            return {"kind": "cost" if "cost" in text else "latency"}

        async def supervisor(found: dict[str, str]) -> list[str]:
            return [found["kind"], "usage"]

        async def optimization(rows: dict[str, int], call: AgentCall) -> Answer:
            call.progress(rows=len(rows))
            return Answer(f"save {sum(rows.values())}", len(rows))

        return AgentNetwork(
            "chain",
            [
                [Agent(triage, type="triage")],
                [Agent(supervisor, type="supervisor")],
                [data],
                [Agent(optimization, type="optimization")],
            ],
        )

    @pytest.mark.parametrize("workflows", [6, 60])
    async def test_workflows_at_once_with_several_breakers(self, core: AgentExecutionCore, workflows: int) -> None:
        """Half of the chains have a source of data that is away: their breakers open, and the other half does not
        notice. What fails first is found by name, three calls were made to it, and nothing behind it was called."""
        calls = Counter[str]()

        def source(name: str, *, is_well: bool) -> Agent:
            async def read(wanted: list[str]) -> dict[str, int]:
                calls[name] += 1
                if not is_well:
                    raise ConnectionError(f"{name} is away")
                return dict.fromkeys(wanted, 10)

            return brittle(name, read)

        well = [self.chain(source(f"well-{n}", is_well=True)) for n in range(workflows // 2)]
        ill = [self.chain(source(f"ill-{n}", is_well=False)) for n in range(workflows // 2)]

        async def ask(network: AgentNetwork) -> list[object]:
            outcomes: list[object] = []
            for _ in range(4):
                try:
                    outcomes.append((await network.run(ANA, "cost of the shop", core=core)).output)
                except NetworkFailed as error:
                    outcomes.append(error)
            return outcomes

        found = await asyncio.gather(*(ask(network) for network in (*well, *ill)))
        for outcomes in found[: len(well)]:
            assert outcomes == [Answer("save 20", 2)] * 4
        for number, outcomes in enumerate(found[len(well) :]):
            assert all(isinstance(each, NetworkFailed) for each in outcomes)
            last = outcomes[-1]
            assert isinstance(last, NetworkFailed)
            assert (last.agent, list(last.partial.results)) == (f"ill-{number}", ["triage", "supervisor"])
            assert isinstance(last.__cause__, BreakerOpen)
            assert calls[f"ill-{number}"] == 3
        states = {view.name: view.breaker for view in core.agents()}
        assert all(states[f"ill-{number}"] == "open" for number in range(len(ill)))
        assert {states[name] for name in ("triage", "supervisor", "optimization")} == {"closed"}


class TestEvents:
    async def test_a_network_tells_of_its_agents_and_of_itself(self, core: AgentExecutionCore) -> None:
        seen = Seen()
        network = AgentNetwork(
            "net", [[adds("a")], [broken("bad")], [adds("c")]], on_failure={"bad": "skip"}
        )  # fmt: skip
        await network.run(ANA, 1, core=core, emit=seen)
        own = [event for event in seen.events if event.agent == "net"]
        assert [event.kind for event in own] == ["started", *["progress"] * 3, "finished"]
        assert own[0].facts == {"agents": 3, "layers": 3}
        assert [(event.facts["agent"], event.facts["became"]) for event in own[1:-1]] == [
            ("a", "finished"),
            ("bad", "failed"),
            ("c", "skipped"),
        ]
        assert (seen.kinds("a"), seen.kinds("bad"), seen.kinds("c")) == (
            ["started", "finished"],
            ["started", "failed"],
            [],
        )
        assert {(event.user, event.request) for event in seen.events} == {("ana", "r-1")}

    async def test_a_failed_network_says_so_last(self, core: AgentExecutionCore) -> None:
        seen = Seen()
        with pytest.raises(NetworkFailed):
            await AgentNetwork("net", [[broken("bad")]]).run(ANA, core=core, emit=seen)
        assert (seen.events[-1].agent, seen.events[-1].kind, seen.events[-1].facts["error"]) == (
            "net",
            "failed",
            "NetworkFailed",
        )


def test_a_failure_that_no_retry_can_help_says_so() -> None:
    """The type of the cause decides, so that a workflow does not retry what cannot work."""

    async def wrong(_: Any) -> None:
        raise WorkflowError("no such account", error_type=ErrorType.PERMANENT)

    async def main() -> NetworkFailed:
        async with AgentExecutionCore(watches_loop=False) as core:
            with pytest.raises(NetworkFailed) as caught:
                await AgentNetwork("net", [[Agent(wrong)]]).run(ANA, core=core)
            return caught.value

    assert not asyncio.run(main()).is_retryable
