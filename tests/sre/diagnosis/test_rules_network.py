"""How slowness is measured and who is blamed for it."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast_sre.diagnosis.diagnose import diagnose
from holdfast_sre.diagnosis.latency import packets_per_request, rises, silent, unexplained
from holdfast_sre.diagnosis.saturation import starved
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found

CHAIN = ("shop", "till", "vault", "safe")


def chain(*rows: tuple[str, float, float]) -> World:
    """Services that call each other in a row, each with a latency before and now."""
    world = World()
    for name, normal, current in rows:
        world.deployment(name)
        world.measure(name, "latency_ms", normal, current, pct=90)
    names = [name for name, _, _ in rows]
    world.calls = {caller: (callee,) for caller, callee in pairwise(names)}
    return world


def blamed(world: World) -> list[str]:
    return [finding.object.name for finding in found(world.snapshot(), "network-delay-pod")]


def test_the_deepest_rise_is_blamed_and_its_callers_are_not() -> None:
    assert blamed(chain(("shop", 30, 9000), ("till", 20, 4000), ("vault", 5, 2000))) == ["vault"]


def test_a_latency_that_was_always_high_is_no_rise() -> None:
    assert blamed(chain(("shop", 9000, 9500), ("till", 20, 2000))) == ["till"]


def test_a_callee_that_became_faster_explains_nothing() -> None:
    assert blamed(chain(("shop", 100, 640), ("till", 1500, 700))) == ["shop"]


def test_callees_that_are_late_only_because_they_are_asked_late_do_not_take_the_blame() -> None:
    assert blamed(chain(("shop", 27, 28_000), ("till", 4, 2200))) == ["shop", "till"]


def test_a_small_rise_counts_where_there_is_no_great_one_and_is_doubted() -> None:
    world = chain(("shop", 20, 61), ("till", 5, 60))
    finding = found(world.snapshot(), "network-delay-pod")[0]
    assert (finding.object, finding.confidence) == (Ref("Deployment", "till"), 0.6)


def test_a_callee_that_gets_no_request_through_is_blamed_for_its_callers_wait() -> None:
    world = chain(("shop", 20, 9000), ("till", 5, 5))
    for name, rate in (("shop", 4.0), ("till", 0.0)):
        world.measure(name, "requests", 4.0, rate)
    assert silent(world.snapshot()) == ["till"]
    assert blamed(world) == ["till"]


def test_packets_sent_again_are_told_as_evidence() -> None:
    world = chain(("till", 20, 9000))
    world.measure("till", "requests", 4.0, 1.0)
    world.measure("till", "packets_in", 40.0, 30.0)
    world.measure("till", "packets_out", 40.0, 30.0)
    assert packets_per_request(world.snapshot(), "till") == pytest.approx(3.0)
    assert packets_per_request(world.snapshot(), "shop") is None
    texts = " ".join(item.text for item in found(world.snapshot(), "network-delay-pod")[0].evidence)
    assert "3.0 times the packets" in texts


def test_where_nobody_tells_who_calls_whom_late_packets_do() -> None:
    world = chain(("shop", 20, 9000), ("till", 20, 4000))
    world.calls = {}
    for name, packets in (("shop", 40.0), ("till", 90.0)):
        world.measure(name, "requests", 4.0, 4.0)
        world.measure(name, "packets_in", 40.0, packets)
    assert blamed(world) == ["till", "shop"]


def test_alerts_tell_where_nothing_was_measured() -> None:
    world = World()
    world.deployment("till")
    world.signal("till", "latency", 2000.0, 8.0, pct=50)
    assert rises(world.snapshot())["till"].rise_ms == 1992.0


def test_who_calls_whom_is_read_from_settings_where_it_was_not_recorded() -> None:
    world = chain(("shop", 30, 9000), ("till", 20, 4000))
    world.calls = {}
    world.service("till")
    manifest = world.declared[Ref("Deployment", "shop")]
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "TILL", "value": "till:80"}]
    assert blamed(world) == ["till"]


@pytest.mark.parametrize(
    ("use", "waits", "requests", "is_starved"),
    [
        ((0.03, 0.16), (0.0, 0.8), (10.0, 10.0), True),
        ((0.03, 0.16), (0.0, 0.8), (10.0, 55.0), False),
        ((0.44, 0.36), (1.4, 0.7), (3.0, 5.0), False),
        ((0.03, 0.16), (0.7, 0.8), (10.0, 10.0), False),
        ((0.14, 0.19), (0.02, 0.8), (10.0, 10.0), True),
        ((0.14, 0.19), (0.1, 0.3), (10.0, 10.0), False),
    ],
    ids=["starved", "asked more", "always throttled", "throttled as before", "at its limit", "a little throttled"],
)
def test_who_works_more_for_a_request_and_waits_for_cpu_is_starved(
    use: tuple[float, float], waits: tuple[float, float], requests: tuple[float, float], is_starved: bool
) -> None:
    world = World()
    world.measure("till", "cpu", *use)
    world.measure("till", "throttled_s", *waits)
    world.measure("till", "requests", *requests)
    assert (starved(world.snapshot()) == {"till"}) == is_starved


def test_a_starved_callee_explains_its_callers() -> None:
    world = chain(("shop", 30, 900), ("till", 20, 800))
    world.measure("till", "cpu", 0.1, 0.9)
    world.measure("till", "throttled_s", 0.0, 0.8)
    assert blamed(world) == []
    assert found(world.snapshot(), "cpu-overload")[0].object == Ref("Deployment", "till")


def test_the_pods_of_a_service_that_send_again_lose_packets() -> None:
    world = chain(("till", 5, 300))
    world.measure("till", "retransmissions", 0.0, 6.0)
    assert found(world.snapshot(), "network-loss-pod")[0].object == Ref("Deployment", "till")
    world.measure("node-a", "retransmissions", 0.0, 7.0, of="Node")
    assert not found(world.snapshot(), "network-loss-pod")
    assert found(world.snapshot(), "network-loss-node")[0].object == Ref("Node", "node-a")


def test_a_node_that_always_sends_again_is_no_news() -> None:
    world = chain(("till", 5, 9000))
    world.measure("node-a", "retransmissions", 2.7, 3.5, of="Node")
    assert not found(world.snapshot(), "network-delay-node")
    assert blamed(world) == ["till"]


@pytest.mark.parametrize(("is_told", "rule"), [(False, "network-delay-pod"), (True, "network-delay-node")])
def test_a_raw_rate_must_rise_more_than_one_that_an_alert_tells(is_told: bool, rule: str) -> None:
    world = chain(("till", 5, 9000))
    if is_told:
        world.signal("node-a", "retransmissions", 0.45, 0.1, of="Node")
    else:
        world.measure("node-a", "retransmissions", 0.1, 0.45, of="Node")
    assert [each.rule for each in diagnose(world.snapshot()).ranked][:1] == [rule]


@given(st.permutations(CHAIN), st.floats(0.21, 5.0), st.integers(0, 3), st.integers(0, 2**32))
def test_neither_names_nor_order_nor_size_change_who_is_blamed(
    names: list[str], factor: float, depth: int, seed: int
) -> None:
    """Everything above the one at fault is as late as it is, times a factor; everything below is as ever."""
    rows = [
        (name, 10.0, 10.0 + 2000.0 * factor ** (depth - place) if place <= depth else 10.0)
        for place, name in enumerate(names)
    ]
    world = chain(*[(name, normal, min(current, 10.0 + 2000.0 / 0.21)) for name, normal, current in rows])
    random.Random(seed).shuffle(world.measures)
    late = [rise.name for rise in unexplained(world.snapshot(), rises(world.snapshot()))]
    assert names[depth] in late
    assert set(late) <= set(names[: depth + 1])
