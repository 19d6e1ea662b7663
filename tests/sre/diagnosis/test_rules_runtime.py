"""Rules about databases, the network and the CPU."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found

DENIED = "java.sql.SQLException: Access denied for user 'baker'@'10.0.0.4'"
REFUSED = "CommunicationsException: Communications link failure"


def database(**own: str) -> World:
    """Three clients of one server; the settings of the first are as given."""
    world = World()
    world.deployment("vault", kind="StatefulSet")
    world.service("vault", port=3306)
    for index, name in enumerate(("oven", "till", "shop")):
        settings = {"DB_HOST": "vault", "DB_PORT": "3306", "DB_USER": "baker", "DB_PASSWORD": "right"}
        settings |= own if index == 0 else {}
        world.add("Secret", f"{name}-db", {"stringData": settings})
        box = container(envFrom=[{"secretRef": {"name": f"{name}-db"}}])
        world.deployment(name, containers=[box], ready=1 if index else 0, restarts=0 if index else 4)
    return world


def test_a_password_unlike_that_of_the_other_clients() -> None:
    world = database(DB_PASSWORD="wrong")
    silent = found(world.snapshot(), "database-credentials")[0]
    world.log("oven", DENIED)
    finding = found(world.snapshot(), "database-credentials")[0]
    assert finding.object == Ref("Deployment", "oven")
    assert finding.remedy == ()  # A secret's value is never computed.
    assert silent.confidence < finding.confidence
    assert "wrong" not in "".join(item.text for item in finding.evidence)


def test_the_usual_password_is_not_blamed_for_a_refusal_of_others() -> None:
    world = database()
    world.log("oven", DENIED)
    assert not found(world.snapshot(), "database-credentials")


def test_credentials_of_a_workload_that_is_well_are_not_blamed() -> None:
    world = database(DB_PASSWORD="wrong")
    world.deployment("oven", containers=[container(envFrom=[{"secretRef": {"name": "oven-db"}}])])
    assert not found(world.snapshot(), "database-credentials")


def test_a_port_that_the_server_does_not_offer() -> None:
    world = database(DB_PORT="3307")
    world.log("oven", REFUSED)
    finding = found(world.snapshot(), "database-port")[0]
    assert finding.remedy == (Change("Secret/oven-db", "stringData.DB_PORT", "3307", "3306"),)
    assert not found(database().snapshot(), "database-port")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("java.sql.SQLNonTransientConnectionException: Too many connections", "database-connections"),
        ("The server is running with the --read-only option", "database-read-only"),
    ],
)
def test_what_several_clients_are_told_is_the_servers_fault(line: str, rule: str) -> None:
    world = database()
    assert not found(world.snapshot(), rule)
    world.log("oven", line)
    world.log("till", line)
    assert [finding.object for finding in found(world.snapshot(), rule)] == [Ref("StatefulSet", "vault")]


def chain() -> World:
    """shop calls till, till calls oven."""
    world = World()
    for name in ("shop", "till", "oven"):
        world.deployment(name)
    world.calls |= {"shop": ("till",), "till": ("oven",)}
    return world


def test_the_deepest_slow_service_is_the_cause() -> None:
    world = chain()
    for name, current in (("shop", 9000.0), ("till", 6000.0), ("oven", 4000.0)):
        world.signal(name, "latency", current, 10.0, pct=90)
    assert [finding.object.name for finding in found(world.snapshot(), "network-delay-pod")] == ["oven"]


def test_a_callee_that_is_only_a_little_late_does_not_explain_its_caller() -> None:
    world = chain()
    world.signal("shop", "latency", 9000.0, 10.0, pct=50)
    world.signal("till", "latency", 600.0, 10.0, pct=90)
    assert [finding.object.name for finding in found(world.snapshot(), "network-delay-pod")] == ["shop", "till"]


def test_everyday_latency_and_a_service_starved_of_cpu_are_no_network_fault() -> None:
    world = chain()
    world.signal("shop", "latency", 40.0, 20.0, pct=90)
    assert not found(world.snapshot(), "network-delay-pod")
    world.signal("oven", "latency", 900.0, 10.0, pct=90)
    world.signal("oven", "cpu", 0.5, 0.1)
    world.signal("oven", "cpu_throttled", 0.8, None)
    assert not found(world.snapshot(), "network-delay-pod")
    assert found(world.snapshot(), "cpu-overload")


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


@pytest.mark.parametrize(
    ("retransmissions", "latency_ms", "rule"), [(9.0, 400.0, "network-loss-node"), (0.9, 9000.0, "network-delay-node")]
)
def test_many_retransmissions_for_the_latency_are_loss_few_are_delay(
    retransmissions: float, latency_ms: float, rule: str
) -> None:
    world = chain()
    world.signal("shop", "latency", latency_ms, 10.0, pct=50)
    world.signal("node-a", "retransmissions", retransmissions, 0.0, of="Node")
    rules = ("network-loss-node", "network-delay-node")
    assert [name for name in rules if found(world.snapshot(), name)] == [rule]
    assert found(world.snapshot(), "network-delay-pod")[0].confidence < found(world.snapshot(), rule)[0].confidence


def test_a_few_retransmissions_are_no_node_fault_and_many_without_a_late_service_are_doubted() -> None:
    world = chain()
    world.signal("node-a", "retransmissions", 9.0, 0.0, of="Node")
    assert found(world.snapshot(), "network-loss-node")[0].confidence == 0.5
    world = chain()
    world.signal("shop", "latency", 400.0, 10.0)
    world.signal("node-a", "retransmissions", 0.1, 0.0, of="Node")
    assert not found(world.snapshot(), "network-loss-node")
    assert not found(world.snapshot(), "network-delay-node")


@pytest.mark.parametrize(
    ("throttled", "use", "latency", "confidence"),
    [
        (True, 0.5, None, 0.93),
        (True, None, 900.0, 0.6),
        (False, 0.5, 900.0, 0.6),
        (True, None, None, 0),
        (True, 0.11, None, 0),
    ],
)
def test_two_signs_make_a_starved_service(
    throttled: bool, use: float | None, latency: float | None, confidence: float
) -> None:
    world = chain()
    if throttled:
        world.signal("oven", "cpu_throttled", 0.5, None)
    if use is not None:
        world.signal("oven", "cpu", use, 0.1)
    if latency is not None:
        world.signal("oven", "latency", latency, 10.0)
    assert [finding.confidence for finding in found(world.snapshot(), "cpu-overload")] == (
        [confidence] if confidence else []
    )
