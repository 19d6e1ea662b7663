"""Containers that end at once, and images for the wrong machine or from a registry that is away."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, container, found

TILL = Ref("Deployment", "till")
BOX = "spec.template.spec.containers[app]"


def crashing(line: str = "", *, code: int = 1, text: str = "", ready: int = 0) -> World:
    world = World()
    ended = {"terminated": {"exitCode": code, "reason": "Error", "message": text}}
    world.deployment(
        "till", ready=ready, restarts=4, state={"waiting": {"reason": "CrashLoopBackOff"}}, last_state=ended
    )
    if line:
        world.log("till", line)
    return world


@pytest.mark.parametrize(
    ("rule", "line", "field"),
    [
        ("container-argument", "Error: unknown flag: --lisen", "args"),
        ("container-argument", "till: unrecognized option '--x'", "args"),
        ("container-variable", 'panic: environment variable "TILL_ADDR" not set', "env"),
        ("container-variable", "KeyError: 'TILL_ADDR'", "env"),
        ("container-variable", "Could not resolve placeholder 'db.host' in value", "env"),
        ("container-platform", "exec /till: exec format error", "image"),
        ("container-program", "sh: till: command not found", "command"),
    ],
)
def test_what_the_container_says_before_it_ends_is_its_class(rule: str, line: str, field: str) -> None:
    finding = found(crashing(line).snapshot(), rule)[0]
    assert finding.object == TILL
    assert Field(TILL, f"{BOX}.{field}") in finding.blames
    assert not found(crashing(line, ready=1).snapshot(), rule)


def test_a_program_that_the_runtime_does_not_find() -> None:
    text = 'exec: "tll": executable file not found in $PATH'
    assert found(crashing(code=128, text=text).snapshot(), "container-program")[0].confidence == 0.9


def test_an_exit_code_alone_is_believed_less() -> None:
    assert found(crashing(code=127).snapshot(), "container-program")[0].confidence == 0.75
    assert not found(crashing(code=1).snapshot(), "container-program")


def test_an_everyday_error_is_no_missing_variable() -> None:
    assert not found(
        crashing("ERROR order not set to paid; variable shipping costs are missing").snapshot(), "container-variable"
    )


def pulling(text: str, *, image: str = "registry.test/oven/till:2") -> World:
    world = World()
    world.deployment(
        "till", ready=0, containers=[container(image=image)], state={"waiting": {"reason": "ImagePullBackOff"}}
    )
    world.event(world.pod("till"), "Failed", f'Failed to pull image "{image}": {text}')
    return world


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("image-registry-unreachable", "dial tcp 10.1.1.1:443: i/o timeout"),
        ("image-registry-unreachable", "tls: failed to verify certificate: x509: unknown authority"),
        ("image-registry-unknown", "dial tcp: lookup registry.test on 10.0.0.2:53: read udp: i/o timeout"),
        ("image-pull-forbidden", "403 Forbidden, or it may not exist"),
    ],
)
def test_what_the_registry_answers_tells_the_class(rule: str, text: str) -> None:
    assert found(pulling(text).snapshot(), rule)


def test_where_others_pull_freely_an_image_that_may_not_exist_does_not() -> None:
    world = pulling("denied: permission denied (or it may not exist)")
    world.deployment("oven", containers=[container(image="registry.test/oven/oven:1")])
    assert found(world.snapshot(), "image-not-found")
    assert not found(world.snapshot(), "image-pull-forbidden")


def test_a_kill_that_nobody_asked_for_is_want_of_memory_with_doubt() -> None:
    world = World()
    limits = {"resources": {"limits": {"memory": "20Mi"}}}
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    world.deployment("till", ready=0, restarts=3, containers=[container(**limits)], last_state=ended)
    assert found(world.snapshot(), "memory-limit-too-low")[0].confidence == 0.6
    world.event(world.pod("till"), "Unhealthy", "Liveness probe failed")
    assert not found(world.snapshot(), "memory-limit-too-low")


def test_a_startup_probe_at_a_port_that_nobody_opens() -> None:
    world = World()
    box = container(startupProbe={"tcpSocket": {"port": 9}}, readinessProbe={"tcpSocket": {"port": 8000}})
    world.deployment("till", ready=0, restarts=2, containers=[box])
    world.event(world.pod("till"), "Unhealthy", "Startup probe failed: dial tcp: connection refused")
    assert found(world.snapshot(), "startup-probe-port")[0].remedy[0].after == "8000"
    assert not found(world.snapshot(), "startup-probe-protocol")


def test_a_readiness_probe_that_speaks_http_to_what_does_not() -> None:
    world = World()
    box = container(
        readinessProbe={"httpGet": {"port": 8000, "path": "/"}}, livenessProbe={"tcpSocket": {"port": 8000}}
    )
    world.deployment("till", ready=0, containers=[box])
    world.event(world.pod("till"), "Unhealthy", 'Readiness probe failed: Get "http://10.0.0.1:8000/": EOF')
    assert found(world.snapshot(), "readiness-probe-protocol")[0].confidence == 0.95
    assert not found(world.snapshot(), "readiness-probe-port")


def test_a_probe_that_runs_a_program_which_is_not_there() -> None:
    world = World()
    box = container(livenessProbe={"exec": {"command": ["health"]}}, readinessProbe={"grpc": {"port": 8000}})
    world.deployment("till", restarts=3, containers=[box])
    assert not found(world.snapshot(), "liveness-probe-protocol")
    world.event(world.pod("till"), "Unhealthy", "Liveness probe errored: executable file not found")
    remedy = found(world.snapshot(), "liveness-probe-protocol")[0].remedy
    assert {change.path.rpartition("livenessProbe.")[2]: change.after for change in remedy} == {
        "exec.command[0]": None,
        "grpc.port": "8000",
    }


def test_a_probe_that_cannot_work_is_blamed_where_no_event_tells_of_it() -> None:
    world = World()
    world.deployment("till", ready=0, restarts=2, containers=[container(livenessProbe={"tcpSocket": {"port": 9}})])
    assert found(world.snapshot(), "liveness-probe-port")[0].confidence == 0.75
    world = World()
    world.deployment("till", ready=0, restarts=2, containers=[container(livenessProbe={"tcpSocket": {"port": 8000}})])
    assert not found(world.snapshot(), "liveness-probe-timing")


def test_two_containers_of_a_pod_that_open_the_same_port() -> None:
    world = World()
    world.deployment("till", ready=0, containers=[container("app"), container("proxy")])
    assert found(world.snapshot(), "container-port-shared")[0].confidence == 0.7
    world.log("till", "listen tcp :8000: bind: address already in use")
    assert found(world.snapshot(), "container-port-shared")[0].confidence == 0.95


def test_a_sidecar_annotation_that_is_nothing_but_the_port() -> None:
    world = World()
    world.deployment("till", ready=0, annotations={"status.sidecar.test/port": "8000"})
    assert found(world.snapshot(), "sidecar-port")
