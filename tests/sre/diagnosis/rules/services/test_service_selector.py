"""`service-selector`: the selector takes no pod, or another service's."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.worlds import World, found


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
