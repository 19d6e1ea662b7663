"""`network-delay-pod`: a service is late, and neither what it calls nor a want of CPU explains it."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.latency import packets_per_request, silent
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, chain, found, measured_chain


def blamed(world: World) -> list[str]:
    return [finding.object.name for finding in found(world.snapshot(), "network-delay-pod")]


def test_the_deepest_rise_is_blamed_and_its_callers_are_not() -> None:
    assert blamed(measured_chain(("shop", 30, 9000), ("till", 20, 4000), ("vault", 5, 2000))) == ["vault"]


def test_a_latency_that_was_always_high_is_no_rise() -> None:
    assert blamed(measured_chain(("shop", 9000, 9500), ("till", 20, 2000))) == ["till"]


def test_a_callee_that_became_faster_explains_nothing() -> None:
    assert blamed(measured_chain(("shop", 100, 640), ("till", 1500, 700))) == ["shop"]


def test_callees_that_are_late_only_because_they_are_asked_late_do_not_take_the_blame() -> None:
    assert blamed(measured_chain(("shop", 27, 28_000), ("till", 4, 2200))) == ["shop", "till"]


def test_a_small_rise_counts_where_there_is_no_great_one_and_is_doubted() -> None:
    world = measured_chain(("shop", 20, 61), ("till", 5, 60))
    finding = found(world.snapshot(), "network-delay-pod")[0]
    assert (finding.object, finding.confidence) == (Ref("Deployment", "till"), 0.6)


def test_a_callee_that_gets_no_request_through_is_blamed_for_its_callers_wait() -> None:
    world = measured_chain(("shop", 20, 9000), ("till", 5, 5))
    for name, rate in (("shop", 4.0), ("till", 0.0)):
        world.measure(name, "requests", 4.0, rate)
    assert silent(world.snapshot()) == ["till"]
    assert blamed(world) == ["till"]


def test_packets_sent_again_are_told_as_evidence() -> None:
    world = measured_chain(("till", 20, 9000))
    world.measure("till", "requests", 4.0, 1.0)
    world.measure("till", "packets_in", 40.0, 30.0)
    world.measure("till", "packets_out", 40.0, 30.0)
    assert packets_per_request(world.snapshot(), "till") == pytest.approx(3.0)
    assert packets_per_request(world.snapshot(), "shop") is None
    texts = " ".join(item.text for item in found(world.snapshot(), "network-delay-pod")[0].evidence)
    assert "3.0 times the packets" in texts


def test_where_nobody_tells_who_calls_whom_late_packets_do() -> None:
    world = measured_chain(("shop", 20, 9000), ("till", 20, 4000))
    world.calls = {}
    for name, packets in (("shop", 40.0), ("till", 90.0)):
        world.measure(name, "requests", 4.0, 4.0)
        world.measure(name, "packets_in", 40.0, packets)
    assert blamed(world) == ["till", "shop"]


def test_who_calls_whom_is_read_from_settings_where_it_was_not_recorded() -> None:
    world = measured_chain(("shop", 30, 9000), ("till", 20, 4000))
    world.calls = {}
    world.service("till")
    manifest = world.declared[Ref("Deployment", "shop")]
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "TILL", "value": "till:80"}]
    assert blamed(world) == ["till"]


def test_a_starved_callee_explains_its_callers() -> None:
    world = measured_chain(("shop", 30, 900), ("till", 20, 800))
    world.measure("till", "cpu", 0.1, 0.9)
    world.measure("till", "throttled_s", 0.0, 0.8)
    assert not found(world.snapshot(), "network-delay-pod")


def test_alerts_alone_tell_the_deepest_slow_service() -> None:
    world = chain()
    for name, current in (("shop", 9000.0), ("till", 6000.0), ("oven", 4000.0)):
        world.signal(name, "latency", current, 10.0, pct=90)
    assert blamed(world) == ["oven"]


def test_a_callee_that_is_only_a_little_late_does_not_explain_its_caller() -> None:
    world = chain()
    world.signal("shop", "latency", 9000.0, 10.0, pct=50)
    world.signal("till", "latency", 600.0, 10.0, pct=90)
    assert blamed(world) == ["shop", "till"]


def test_everyday_latency_and_a_service_starved_of_cpu_are_no_network_fault() -> None:
    world = chain()
    world.signal("shop", "latency", 40.0, 20.0, pct=90)
    assert not found(world.snapshot(), "network-delay-pod")
    world.signal("oven", "latency", 900.0, 10.0, pct=90)
    world.signal("oven", "cpu", 0.5, 0.1)
    world.signal("oven", "cpu_throttled", 0.8, None)
    assert not found(world.snapshot(), "network-delay-pod")


def test_where_nothing_comes_back_the_one_that_lost_most_is_named_with_doubt() -> None:
    world = chain()
    for index in range(5):
        world.signal(f"s{index}", "throughput_drop", 5.0, 10.0)
    world.signal("shop", "throughput_drop", 1.0, 10.0)
    finding = found(world.snapshot(), "network-delay-pod")[0]
    assert finding.object == Ref("Deployment", "shop")
    assert finding.confidence <= 0.5


def test_who_sends_more_packets_for_no_more_requests_is_named_with_doubt() -> None:
    world = chain()
    world.signal("oven", "traffic_surge", 30.0, 10.0)
    world.signal("till", "traffic_surge", 50.0, 10.0)
    world.signal("till", "throughput_surge", 5.0, 1.0)
    assert [finding.object.name for finding in found(world.snapshot(), "network-delay-pod")] == ["oven"]
