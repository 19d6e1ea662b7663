"""What kubectl prints for people, read back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast_sre.evidence.kubectl_objects import endpoints, parse_described
from holdfast_sre.evidence.kubectl_text import described_events, listed_events, outline, table
from holdfast_sre.evidence.quantities import age_s, quantity
from holdfast_sre.evidence.snapshot import Ref, containers_of, dig

POD = """\
Name:             oven-1-0
Namespace:        bakery
Service Account:  oven
Node:             node-a/192.0.2.7
Labels:           app=oven
                  tier=hot
Annotations:      mesh.test/config: { "statusPort": 80 }
Status:           Running
IP:               10.0.0.9
Controlled By:    ReplicaSet/oven-1
Containers:
  app:
    Image:          registry.test/oven:1.0
    Port:           8000/TCP
    State:          Waiting
      Reason:       CrashLoopBackOff
    Last State:     Terminated
      Reason:       OOMKilled
      Exit Code:    137
    Ready:          False
    Restart Count:  4
    Limits:
      cpu:     500m
      memory:  64Mi
    Environment Variables from:
      oven-db  Secret     Optional: false
    Environment:
      TILL_ADDR:  till:80
Conditions:
  Type           Status
  PodScheduled   True
Node-Selectors:  disk=ssd
Events:
  Type     Reason   Age                From     Message
  ----     ------   ----               ----     -------
  Warning  BackOff  3s (x7 over 2m5s)  kubelet  Back-off restarting failed container  app
"""


def test_a_described_pod_has_the_shape_of_the_api() -> None:
    pod, section = parse_described("Pod", POD)
    assert pod["metadata"]["labels"] == {"app": "oven", "tier": "hot"}
    assert pod["metadata"]["ownerReferences"] == [{"kind": "ReplicaSet", "name": "oven-1"}]
    assert pod["metadata"]["annotations"] == {"mesh.test/config": '{ "statusPort": 80 }'}
    assert pod["spec"]["nodeName"] == "node-a"
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    box = containers_of(pod)[0]
    assert box["resources"]["limits"] == {"cpu": "500m", "memory": "64Mi"}
    assert box["envFrom"] == [{"secretRef": {"name": "oven-db"}}]
    assert box["env"] == [{"name": "TILL_ADDR", "value": "till:80"}]
    status = pod["status"]["containerStatuses"][0]
    assert status["state"] == {"waiting": {"reason": "CrashLoopBackOff"}}
    assert status["lastState"]["terminated"] == {"reason": "OOMKilled", "exitCode": 137}
    assert (status["ready"], status["restartCount"]) == (False, 4)
    event = next(iter(described_events(section, Ref("Pod", "oven-1-0"))))
    assert (event.reason, event.count, event.age_s) == ("BackOff", 7, 3.0)
    assert event.message == "Back-off restarting failed container  app"


def test_a_described_service_keeps_ports_apart() -> None:
    text = (
        "Name:        till\nSelector:    app=till,tier=front\nType:        ClusterIP\n"
        "Port:        main  80/TCP\nTargetPort:  http/TCP\nPort:        <unset>  81/UDP\nTargetPort:  8001/UDP\n"
    )
    service, _ = parse_described("Service", text)
    assert service["spec"]["selector"] == {"app": "till", "tier": "front"}
    assert service["spec"]["ports"] == [
        {"port": 80, "protocol": "TCP", "name": "main", "targetPort": "http"},
        {"port": 81, "protocol": "UDP", "targetPort": 8001},
    ]


def test_a_described_deployment_tells_desired_and_available() -> None:
    text = "Name:      oven\nReplicas:  3 desired | 3 updated | 3 total | 1 available | 2 unavailable\n"
    workload, _ = parse_described("Deployment", text)
    assert (dig(workload, "spec.replicas"), dig(workload, "status.readyReplicas")) == (3, 1)


def test_a_described_node_tells_taints_cordon_and_room() -> None:
    text = (
        "Name:           node-a\nLabels:         disk=ssd\nTaints:         gpu=yes:NoSchedule\n"
        "                down:NoExecute\nUnschedulable:  true\nAllocatable:\n  cpu:     4\n  memory:  8Gi\n"
        "Allocated resources:\n  Resource  Requests    Limits\n  --------  --------    ------\n"
        "  cpu       425m (5%)   0\n"
    )
    node, _ = parse_described("Node", text)
    assert node["spec"]["unschedulable"] is True
    assert node["spec"]["taints"] == [
        {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
        {"key": "down", "value": "", "effect": "NoExecute"},
    ]
    assert node["status"]["allocatable"] == {"cpu": "4", "memory": "8Gi"}
    assert node["status"]["requested"] == {"cpu": "425m"}


def test_a_described_quota_tells_used_and_hard() -> None:
    quota, _ = parse_described(
        "ResourceQuota", "Name:  q\nResource  Used  Hard\n--------  ----  ----\npods      2     3\n"
    )
    assert quota["status"] == {"used": {"pods": "2"}, "hard": {"pods": "3"}}


def test_a_table_is_cut_at_its_headings() -> None:
    rows = table("NAME   LAST SEEN   CLAIM\na      2m          \nb                  bakery/flour\n")
    assert rows == [
        {"NAME": "a", "LAST SEEN": "2m", "CLAIM": ""},
        {"NAME": "b", "LAST SEEN": "", "CLAIM": "bakery/flour"},
    ]


def test_listed_events_name_their_object() -> None:
    text = (
        "LAST SEEN   TYPE      REASON    OBJECT         MESSAGE\n2m5s        Warning   BackOff   pod/oven-1-0   again\n"
    )
    event = next(iter(listed_events(text)))
    assert (event.about, event.reason, event.age_s, event.message) == (
        Ref("Pod", "oven-1-0"),
        "BackOff",
        125.0,
        "again",
    )


def test_endpoints_without_a_port_are_no_addresses() -> None:
    assert endpoints("till", "10.0.0.9")["subsets"] == []
    assert len(endpoints("till", "10.0.0.9:80,10.0.0.8:80 + 1 more...")["subsets"]) == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", 0.1),
        ("2", 2.0),
        ("64Mi", 64 * 2**20),
        ("1.5Gi", 1.5 * 2**30),
        ("1e3", 1000.0),
        ("-", None),
        ("5 Mi", None),
    ],
)
def test_quantities(text: str, value: float | None) -> None:
    assert quantity(text) == value


@pytest.mark.parametrize(("text", "value"), [("4d21h", 421200.0), ("93s", 93.0), ("", None), ("<unknown>", None)])
def test_ages(text: str, value: float | None) -> None:
    assert age_s(text) == value


@example(" 0\r0")  # a header line without a column
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_text_breaks_the_readers(text: str) -> None:
    table(text)
    list(listed_events(text))
    for kind in ("Pod", "Service", "Deployment", "Node", "ResourceQuota", "PersistentVolume", "PersistentVolumeClaim"):
        described, section = parse_described(kind, text)
        assert described["kind"] == kind
        list(described_events(section, Ref(kind, "x")))
    outline(text)
