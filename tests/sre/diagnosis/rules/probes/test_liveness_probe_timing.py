"""`liveness-probe-timing`: the liveness probe kills sooner than the container can start."""

from __future__ import annotations

from tests.sre.diagnosis.rules.probes.worlds import BOX, GRPC, probed
from tests.sre.diagnosis.worlds import World, container, found


def test_a_liveness_probe_that_kills_before_the_start() -> None:
    hasty = {**GRPC, "initialDelaySeconds": 1, "periodSeconds": 1, "failureThreshold": 1}
    world = probed("liveness", hasty, GRPC, message="timeout")
    finding = found(world.snapshot(), "liveness-probe-timing")[0]
    assert finding.remedy == ()
    assert f"{BOX}.livenessProbe.failureThreshold" in {field.path for field in finding.blames}


def test_a_sound_probe_that_fails_is_not_blamed() -> None:
    world = probed("liveness", {**GRPC, "initialDelaySeconds": 5}, GRPC, message="timeout")
    assert not found(world.snapshot(), "liveness-probe-timing")
    assert not found(world.snapshot(), "liveness-probe-port")
    assert not found(world.snapshot(), "liveness-probe-protocol")


def test_where_no_event_tells_of_it_the_timing_is_not_blamed() -> None:
    world = World()
    world.deployment("till", ready=0, restarts=2, containers=[container(livenessProbe={"tcpSocket": {"port": 8000}})])
    assert not found(world.snapshot(), "liveness-probe-timing")
