"""`service-port`: several agree on a port that the service does not offer."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change
from tests.sre.diagnosis.worlds import calling, found


def test_where_several_agree_the_service_is_at_the_wrong_port() -> None:
    finding = found(calling("shop", "oven", address="till:80").snapshot(), "service-port")[0]
    assert finding.remedy == (Change("Service/till", "spec.ports[main].port", "81", "80"),)


def test_one_that_is_alone_with_its_port_is_wrong_itself() -> None:
    assert not found(calling("shop", address="till:80").snapshot(), "service-port")


def test_a_service_at_the_port_that_all_expect_is_right() -> None:
    assert not found(calling("shop", "oven", address="till:81").snapshot(), "service-port")
