"""Rules about services, addresses, routes and replicas."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Failure, Ref
from tests.sre.diagnosis.worlds import World, container, found


def selecting(selector: dict[str, str], *, ready: int = 1) -> World:
    world = World()
    world.deployment("till", ready=ready)
    world.service("till", selector=selector, addresses=())
    return world


@pytest.mark.parametrize(
    ("selector", "changes"),
    [
        ({"app": "tills"}, [("app", "tills", "till")]),
        ({"app": "till", "tier": "front"}, [("tier", "front", None)]),
        ({"application": "till"}, [("app", None, "till"), ("application", "till", None)]),
    ],
)
def test_a_selector_that_matches_no_pod_is_corrected_to_the_labels(
    selector: dict[str, str], changes: list[tuple[str, str | None, str | None]]
) -> None:
    finding = found(selecting(selector).snapshot(), "service-selector")[0]
    expected = [Change("Service/till", f"spec.selector.{key}", old, new) for key, old, new in changes]
    assert list(finding.remedy) == expected


def test_a_right_selector_without_endpoints_is_not_blamed() -> None:
    assert not found(selecting({"app": "till"}, ready=0).snapshot(), "service-selector")


def test_a_wrong_selector_whose_pods_are_down_is_not_yet_the_cause() -> None:
    assert not found(selecting({"app": "tills"}, ready=0).snapshot(), "service-selector")


def test_a_selector_that_only_live_pods_match_is_right() -> None:
    world = selecting({"app": "till", "role": "leader"})
    pod = world.live[world.pod("till")]
    world.live[world.pod("till")] = {
        **pod,
        "metadata": {**pod["metadata"], "labels": {"app": "till", "role": "leader"}},
    }
    assert not found(world.snapshot(), "service-selector")


def test_a_selector_with_endpoints_is_right() -> None:
    world = selecting({"app": "tills"})
    world.service("till", selector={"app": "tills"}, addresses=("10.0.0.7",))
    assert not found(world.snapshot(), "service-selector")


def leading_to(target: int | str, *, reached: bool = False, ready: int = 1, port_name: str | None = None) -> World:
    world = World()
    box = container()
    if port_name:
        box = {**box, "ports": [{"containerPort": 8000, "name": port_name}]}
    world.deployment("till", containers=[box], ready=ready)
    world.service("till", target=target)
    world.connect("till", reached=reached)
    return world


def test_a_target_port_that_nobody_opens_becomes_the_only_open_one() -> None:
    finding = found(leading_to(8001).snapshot(), "service-target-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].targetPort", "8001", "8000"),)
    assert [field.path for field in finding.blames] == ["spec.ports[main].targetPort"]


def test_a_misspelt_port_name_blames_both_sides() -> None:
    finding = found(leading_to("htttp", port_name="http").snapshot(), "service-target-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].targetPort", "htttp", "http"),)
    assert "spec.template.spec.containers[app].ports" in {field.path for field in finding.blames}


@pytest.mark.parametrize(("target", "reached", "ready"), [(8000, False, 1), (8001, True, 1), (8001, False, 0)])
def test_target_ports_that_are_right_reached_or_before_unready_pods_are_not_blamed(
    target: int, reached: bool, ready: int
) -> None:
    assert not found(leading_to(target, reached=reached, ready=ready).snapshot(), "service-target-port")


@pytest.mark.parametrize(
    ("protocol", "reached", "is_fault"), [("UDP", False, True), ("UDP", True, False), (None, False, False)]
)
def test_a_protocol_that_the_container_does_not_speak(protocol: str | None, reached: bool, is_fault: bool) -> None:
    world = World()
    world.deployment("till")
    world.service("till", protocol=protocol)
    world.connect("till", reached=reached)
    findings = found(world.snapshot(), "service-protocol")
    assert bool(findings) == is_fault
    if is_fault:
        assert findings[0].remedy == (Change("Service/till", "spec.ports[main].protocol", "UDP", None),)


def addressed(value: str, *lines: str) -> World:
    world = World()
    world.deployment("shop", containers=[container(env=[{"name": "TILL_ADDR", "value": value}])])
    world.deployment("till")
    world.service("till", port=80)
    for line in lines:
        world.log("shop", line)
    return world


def test_an_address_with_a_port_that_the_service_does_not_offer() -> None:
    world = addressed("till:81", "dial tcp 10.1.1.1:81: connect: connection refused")
    finding = found(world.snapshot(), "environment-address")[0]
    path = "spec.template.spec.containers[app].env[TILL_ADDR].value"
    assert finding.remedy == (Change("Deployment/shop", path, "till:81", "till:80"),)
    silent = found(addressed("till:81").snapshot(), "environment-address")[0]
    assert silent.confidence < finding.confidence


def test_an_address_of_no_service_counts_only_where_the_log_complains() -> None:
    assert not found(addressed("tills:80").snapshot(), "environment-address")
    finding = found(
        addressed("tills:80", "lookup tills on 10.0.0.2:53: no such host").snapshot(), "environment-address"
    )[0]
    assert finding.remedy[0].after == "till:80"


def test_a_right_address_and_a_service_that_is_itself_missing_are_not_blamed() -> None:
    assert not found(addressed("till:80", "till:80 refused").snapshot(), "environment-address")
    world = addressed("till:80", "lookup till on 10.0.0.2:53: no such host")
    del world.live[Ref("Service", "till")]
    assert not found(world.snapshot(), "environment-address")


ROUTES = """
gateway:
  routes:
    - id: bread
      uri: lb://${{BREAD_HOST:shop-bread-svc}}
      predicates: ["Path=/api/bread/**"]
    - id: cake
      uri: lb://{cake}
      predicates: ["Path=/api/cake/**"]
    - id: tea
      uri: lb://shop-tea-svc
      predicates: ["Path=/api/tea/**"]
"""


def routed(cake: str) -> World:
    world = World()
    for name in ("bread", "cake", "tea"):
        world.service(f"shop-{name}-svc")
    world.add("ConfigMap", "gateway", {"data": {"routes.yml": ROUTES.format(cake=cake)}})
    return world


@pytest.mark.parametrize("target", ["shop-tea-svc", "shop-nowhere"])
def test_a_route_that_leads_elsewhere_is_about_the_service_it_should_reach(target: str) -> None:
    world = routed(target)
    quiet = found(world.snapshot(), "gateway-route")[0]
    world.failures.append(Failure("shop-cake-svc", "/api/cake/1", 404, 9, "GET /api/cake/1: 404"))
    loud = found(world.snapshot(), "gateway-route")[0]
    assert quiet.object == loud.object == Ref("Service", "shop-cake-svc")
    assert quiet.confidence < loud.confidence


def test_a_table_of_right_routes_and_a_map_that_is_no_table_are_no_fault() -> None:
    world = routed("shop-cake-svc")
    world.add("ConfigMap", "notes", {"data": {"a": "uri: [predicates", "b": "uri: x\npredicates: y"}})
    assert not found(world.snapshot(), "gateway-route")


@pytest.mark.parametrize(("declared", "is_called", "is_fault"), [(1, True, True), (0, True, False), (1, False, False)])
def test_scaled_to_zero_while_somebody_calls(declared: int, is_called: bool, is_fault: bool) -> None:
    world = World()
    ref = world.deployment("till", replicas=declared, ready=0, pods=0)
    live = world.live[ref]
    world.live[ref] = {**live, "spec": {**live["spec"], "replicas": 0}}
    if is_called:
        world.calls["shop"] = ("till",)
    assert bool(found(world.snapshot(), "zero-replicas")) == is_fault
