"""`gateway-route`: a route leads elsewhere than to what it is meant for."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Failure, Ref
from tests.sre.diagnosis.worlds import World, container, found

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
