"""Ingresses, routes, gateways, policies and the addresses between services."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Failure, Ref
from tests.sre.diagnosis.worlds import World, container, found


def way(kind: str, spec: dict[str, Any]) -> World:
    world = World()
    world.deployment("till")
    world.service("till", port=80)
    world.add(kind, "shop", {"spec": spec})
    return world


def ingress(service: str = "till", port: Any = None, **more: Any) -> World:
    backend = {"service": {"name": service, "port": port or {"number": 80}}}
    return way("Ingress", {"rules": [{"http": {"paths": [{"path": "/", "backend": backend}]}}], **more})


WAYS = {
    "Ingress": lambda name, port: ingress(name, {"number": port}),
    "HTTPRoute": lambda name, port: way("HTTPRoute", {"rules": [{"backendRefs": [{"name": name, "port": port}]}]}),
    "VirtualService": lambda name, port: way(
        "VirtualService", {"http": [{"route": [{"destination": {"host": name, "port": {"number": port}}}]}]}
    ),
}


@pytest.mark.parametrize("kind", WAYS)
def test_a_way_in_to_a_service_or_port_that_is_not_there(kind: str) -> None:
    assert found(WAYS[kind]("tll", 80).snapshot(), "ingress-backend")[0].object == Ref(kind, "shop")
    assert found(WAYS[kind]("till", 81).snapshot(), "ingress-port")[0].object == Ref(kind, "shop")
    sound = WAYS[kind]("till", 80).snapshot()
    assert not found(sound, "ingress-backend")
    assert not found(sound, "ingress-port")


def test_a_port_may_be_named_and_a_host_with_dots_is_another_namespaces() -> None:
    assert not found(ingress("till", {"name": "main"}).snapshot(), "ingress-port")
    assert found(ingress("till", {"name": "mian"}).snapshot(), "ingress-port")
    assert not found(WAYS["VirtualService"]("tll.other.svc", 80).snapshot(), "ingress-backend")


def test_a_certificate_and_a_class_that_are_not_there() -> None:
    world = ingress(tls=[{"secretName": "shop-tls"}], ingressClassName="nginxx")
    assert not found(world.snapshot(), "ingress-certificate")  # No secret was recorded at all.
    world.add("Secret", "other", {})
    world.add("IngressClass", "nginx", {})
    assert found(world.snapshot(), "ingress-certificate")
    assert found(world.snapshot(), "ingress-class")
    world.add("Secret", "shop-tls", {})
    world.add("IngressClass", "nginxx", {})
    assert not found(world.snapshot(), "ingress-certificate")
    assert not found(world.snapshot(), "ingress-class")


def shut(*callers: str, probe: str = "connection timed out") -> World:
    world = World()
    world.deployment("till")
    world.service("till")
    world.deployment("shop")
    world.calls["shop"] = ("till",)
    rules = [{"from": [{"podSelector": {"matchLabels": {"app": name}}} for name in callers]}]
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {"matchLabels": {"app": "till"}}, "ingress": rules}})
    world.connect("till", reached=False)
    world.probes[-1] = type(world.probes[-1])("till", 80, False, probe)
    return world


def test_a_policy_that_admits_no_caller_is_blamed_where_connections_time_out() -> None:
    assert found(shut("oven").snapshot(), "network-policy")[0].object == Ref("NetworkPolicy", "till")
    assert not found(shut("oven", "shop").snapshot(), "network-policy")
    assert not found(shut("oven", probe="connection refused").snapshot(), "network-policy")


def test_a_policy_that_selects_nobody_here_or_admits_all_is_not_blamed() -> None:
    world = shut("oven")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {"matchLabels": {"app": "x"}}, "ingress": []}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}, "ingress": [{}]}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}, "policyTypes": ["Egress"]}})
    assert not found(world.snapshot(), "network-policy")
    world.add("NetworkPolicy", "till", {"spec": {"podSelector": {}}})
    assert found(world.snapshot(), "network-policy")


def test_a_mesh_that_denies_a_call() -> None:
    world = World()
    world.deployment("till")
    world.add("AuthorizationPolicy", "till", {"spec": {"selector": {"matchLabels": {"app": "till"}}}})
    assert not found(world.snapshot(), "mesh-policy")
    world.log("shop", "GET till: 403 RBAC: access denied")
    assert found(world.snapshot(), "mesh-policy")[0].object == Ref("AuthorizationPolicy", "till")


def calling(*callers: str, address: str, port: int = 81) -> World:
    world = World()
    world.deployment("till")
    world.service("till", port=port)
    for name in callers:
        world.deployment(name, containers=[container(env=[{"name": "TILL_ADDR", "value": address}])])
    return world


def test_where_several_agree_the_service_is_at_the_wrong_port_and_not_they() -> None:
    snapshot = calling("shop", "oven", address="till:80").snapshot()
    finding = found(snapshot, "service-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].port", "81", "80"),)
    assert not found(snapshot, "environment-address")
    alone = calling("shop", address="till:80").snapshot()
    assert not found(alone, "service-port")
    assert found(alone, "environment-address")


def test_a_misspelt_host_is_blamed_where_its_workload_is_down() -> None:
    world = calling("shop", address="tills:81")
    assert not found(world.snapshot(), "environment-address")
    world.live[Ref("Deployment", "shop")] = {**world.live[Ref("Deployment", "shop")], "status": {"readyReplicas": 0}}
    assert found(world.snapshot(), "environment-address")[0].remedy[0].after == "till:81"


def test_a_declared_service_that_is_gone_and_called() -> None:
    world = World()
    world.deployment("till")
    world.service("other")
    world.service("till", live=False, addresses=())
    assert not found(world.snapshot(), "service-missing")
    world.calls["shop"] = ("till",)
    assert found(world.snapshot(), "service-missing")[0].confidence == 0.4
    world.connect("till", reached=False)
    finding = found(world.snapshot(), "service-missing")[0]
    assert (finding.object, finding.confidence) == (Ref("Service", "till"), 0.9)
    world.probes.clear()
    world.connect("till", reached=True)
    assert not found(world.snapshot(), "service-missing")


def test_a_selector_that_takes_another_services_pods() -> None:
    world = World()
    world.deployment("till")
    world.deployment("oven")
    world.service("oven")
    world.service("till", selector={"app": "oven"})
    finding = found(world.snapshot(), "service-selector")[0]
    assert finding.remedy == (Change("Service/till", "spec.selector.app", "oven", "till"),)
    world.service("cashier", selector={"app": "till"})
    assert not found(world.snapshot(), "service-selector")


def test_a_callers_complaint_tells_where_no_connection_was_tried() -> None:
    world = World()
    world.deployment("till")
    world.service("till", target=9)
    assert not found(world.snapshot(), "service-target-port")
    world.log("shop", "dial tcp till:80: connect: connection refused")
    assert found(world.snapshot(), "service-target-port")[0].confidence == 0.85
    world.connect("till", reached=True)
    assert not found(world.snapshot(), "service-target-port")


def table(*routes: tuple[str, str, str], env: str | None = None, failing: Failure | None = None) -> World:
    world = World()
    for name in ("orders", "prices", "users"):
        world.deployment(f"x-{name}-service")
        world.service(f"x-{name}-service", port=80)
    listed = [f"- id: {id}\n  uri: {uri}\n  predicates: ['Path={path}']" for id, uri, path in routes]
    world.add("ConfigMap", "gate", {"data": {"application.yml": "routes:\n" + "\n".join(listed)}})
    if env is not None:
        source = [{"configMapRef": {"name": "gate"}}]
        world.deployment("gate", containers=[container(env=[{"name": "ORDERS_HOST", "value": env}], envFrom=source)])
    if failing:
        world.failures.append(failing)
    return world


ORDERS = ("orders", "lb://x-orders-service", "/orders/**")
PRICES = ("prices", "lb://x-prices-service", "/prices/**")
USERS = ("people", "lb://x-users-service", "/users/**")


def misrouted(world: World) -> list[str]:
    return sorted({finding.object.name for finding in found(world.snapshot(), "gateway-route")})


def failure(service: str, url: str, status: int = 404) -> Failure:
    return Failure(service, url, status, 5, f"GET {url}: {status}")


def test_a_sound_table_is_silent() -> None:
    assert misrouted(table(ORDERS, PRICES, USERS)) == []


def test_a_route_that_leads_elsewhere_than_its_id() -> None:
    assert misrouted(table(("orders", "lb://x-prices-service", "/orders/**"), PRICES, USERS)) == ["x-orders-service"]


def test_a_route_whose_id_says_nothing_is_told_by_the_requests_that_fail() -> None:
    wrong = ("people", "lb://x-prices-service", "/users/**")
    assert misrouted(table(ORDERS, PRICES, wrong)) == []
    assert misrouted(table(ORDERS, PRICES, wrong, failing=failure("x-users-service", "/users/7"))) == [
        "x-users-service"
    ]


def test_a_route_whose_path_is_wrong_or_that_is_gone() -> None:
    failing = failure("x-users-service", "/users/7")
    assert misrouted(table(ORDERS, PRICES, (*USERS[:2], "/uzers/**"), failing=failing)) == ["x-users-service"]
    assert misrouted(table(ORDERS, PRICES, failing=failing)) == ["x-users-service"]


def test_an_error_of_the_service_itself_is_not_the_gateways() -> None:
    assert misrouted(table(ORDERS, PRICES, USERS, failing=failure("x-users-service", "/users/7", 500))) == []


def test_a_route_to_a_port_that_is_not_offered() -> None:
    assert misrouted(table(("orders", "http://x-orders-service:81", "/orders/**"), PRICES)) == ["x-orders-service"]
    assert misrouted(table(("orders", "http://x-orders-service:80", "/orders/**"), PRICES)) == []


def test_a_route_behind_one_that_takes_the_same_path() -> None:
    broad = ("all", "lb://x-prices-service", "/**")
    assert "x-users-service" in misrouted(table(broad, ORDERS, PRICES, USERS))


def test_a_placeholder_is_filled_from_the_gateways_environment() -> None:
    route = ("orders", "lb://${ORDERS_HOST:x-orders-service}", "/orders/**")
    assert misrouted(table(route, PRICES)) == []
    assert misrouted(table(route, PRICES, env="x-prices-service")) == ["x-orders-service"]


def test_a_config_map_that_is_no_yaml_holds_no_table() -> None:
    world = World()
    world.add("ConfigMap", "gate", {"data": {"x": "uri: [predicates"}})
    assert misrouted(world) == []
