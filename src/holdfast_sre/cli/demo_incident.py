"""An incident of our own: a ferry line whose bookings fail since somebody trimmed memory.

Five services, a repository with a history (set up, scaled, renamed, and then the commit that went wrong), a recorded
cluster and a ticket. The bad commit changes two services and only one of them suffers: the other's new value is
somebody's intention, which a repair must leave alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from holdfast import InvalidInput
from holdfast_sre.evidence import recording
from holdfast_sre.evidence.dump_events import told_moment
from holdfast_sre.evidence.snapshot import Event, Failure, LogLine, Manifest, Probe, Ref, Signal, Snapshot
from holdfast_sre.files import in_thread, replace_text
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.ports import Revision
from holdfast_sre.repair.rollout_effects import reconnected, with_ready_pods
from holdfast_sre.repair.tree.manifests import declared

NAMESPACE = "ferry"
TICKET_ID = "FERRY-17"
BROKEN = Ref("Deployment", "booking")

_MINUTE_S, _DAY_S = 60, 86_400


@dataclass(frozen=True)
class Service:
    """One service of the line. Memory is in mebibytes; `calls` are the services it depends on."""

    name: str
    port: int
    request: int
    limit: int
    calls: tuple[str, ...] = ()
    replicas: int = 1


SERVICES = (
    Service("web", 8080, 96, 192, ("booking", "timetable"), replicas=2),
    Service("timetable", 7300, 128, 256),
    Service("booking", 7100, 256, 384, ("fares", "mail"), replicas=2),
    Service("fares", 7200, 64, 128),
    Service("mail", 7400, 48, 96),
)

MARA = Identity("Mara Lindqvist", "mara@ferry.example")
JONAS = Identity("Jonas Brandt", "jonas@ferry.example")
PRIYA = Identity("Priya Nair", "priya@ferry.example")

_MANIFEST = Template("""\
# $name: the harbour office is on call, see the rota.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $name
  namespace: $namespace
  labels:
    app.kubernetes.io/name: $name
    app.kubernetes.io/part-of: ferry-line
spec:
  replicas: $replicas
  selector:
    matchLabels:
      app.kubernetes.io/name: $name
  template:
    metadata:
      labels:
        app.kubernetes.io/name: $name
    spec:
      serviceAccountName: $name
      containers:
        - name: server
          image: registry.ferry.example/$name:$version
          ports:
            - name: grpc
              containerPort: $port
$environment          readinessProbe:
            grpc:
              port: $port
            initialDelaySeconds: 3
          livenessProbe:
            grpc:
              port: $port
            initialDelaySeconds: 10
          resources:
            requests:
              cpu: 100m
              memory: ${request}Mi
            limits:
              memory: ${limit}Mi   # measured under Saturday's load
---
apiVersion: v1
kind: Service
metadata:
  name: $name
  namespace: $namespace
spec:
  selector:
    app.kubernetes.io/name: $name
  ports:
    - name: grpc
      port: $port
      targetPort: grpc
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $name
  namespace: $namespace
""")

_TICKET = Template("""\
id: $id
title: Bookings fail with 503
text: |
  Since this morning customers cannot book. The page loads and the timetable is fine,
  but "Book now" ends in an error. Nothing was released today as far as we know.
namespace: $namespace
service: booking
status: open
assignee: $assignee
comments:
  - by: Harbour office
    text: Three people at the counter confirmed it. Tomorrow is the first day of the holidays.
""")


@dataclass(frozen=True)
class DemoIncident:
    """Where the parts of the incident are. `healthy` and `faulty` are the commits before and after the bad one."""

    folder: Path
    repository: GitRepository
    namespace: str
    ticket_id: str
    healthy: Revision
    faulty: Revision


async def make_incident(folder: Path, *, identity: Identity, assignee: str, now_s: float) -> DemoIncident:
    """Write the incident into an empty or missing folder, the bad commit 47 minutes before `now_s` (epoch seconds).

    `identity` signs what the bot will commit, `assignee` is its name in the ticket. Raises InvalidInput for a folder
    that holds something.
    """
    if await in_thread(_holds_something, folder):
        raise InvalidInput(f"{folder}: expected an empty folder for the demo's incident", path=str(folder))
    repository = await GitRepository.create(folder / recording.MANIFESTS_FOLDER, identity=identity)
    healthy, faulty = await _write_history(repository, int(now_s))
    manifests = declared(await repository.files(faulty), NAMESPACE)
    recorded = replace(broken_cluster(manifests), taken_at=told_moment(now_s))
    await in_thread(recording.save, folder, recorded)
    ticket = _TICKET.substitute(id=TICKET_ID, namespace=NAMESPACE, assignee=assignee)
    await in_thread(replace_text, folder / recording.TICKETS_FOLDER / f"{TICKET_ID}.yaml", ticket)
    return DemoIncident(folder, repository, NAMESPACE, TICKET_ID, healthy, faulty)


def _holds_something(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


async def _write_history(repository: GitRepository, now_s: int) -> tuple[Revision, Revision]:
    sizes = {service.name: (service.request, service.limit) for service in SERVICES}
    versions = {service.name: "2.3.0" for service in SERVICES}
    replicas = {service.name: 1 for service in SERVICES}
    steps = (
        (MARA, 40 * _DAY_S, "Move the ferry line into its own namespace"),
        (PRIYA, 9 * _DAY_S, "web, booking: two replicas before the holidays"),
        (MARA, 2 * _DAY_S, "fares: 2.4.1, children under six travel free"),
        (JONAS, 47 * _MINUTE_S, "Trim memory of booking and timetable to what they use"),
    )
    commits = []
    for index, (author, age_s, subject) in enumerate(steps):
        if index == 1:
            replicas = {service.name: service.replicas for service in SERVICES}
        elif index == 2:
            versions |= {"fares": "2.4.1"}
        elif index == 3:
            sizes |= {"booking": (64, 96), "timetable": (96, 160)}
        files = {
            f"apps/{service.name}.yaml": _manifest(service, versions[service.name], replicas[service.name], sizes)
            for service in SERVICES
        }
        commit = await repository.record("main", dict(files), subject, author=author, at_s=now_s - age_s)
        commits.append(commit.revision)
    return commits[-2], commits[-1]


def _manifest(service: Service, version: str, replicas: int, sizes: Mapping[str, tuple[int, int]]) -> str:
    ports = {other.name: other.port for other in SERVICES}
    rows = [
        f'            - name: {name.upper()}_ADDRESS\n              value: "{name}:{ports[name]}"\n'
        for name in service.calls
    ]
    request, limit = sizes[service.name]
    return _MANIFEST.substitute(
        name=service.name,
        namespace=NAMESPACE,
        version=version,
        replicas=replicas,
        port=service.port,
        environment="          env:\n" + "".join(rows) if rows else "",
        request=request,
        limit=limit,
    )


def broken_cluster(manifests: Mapping[Ref, Manifest]) -> Snapshot:
    """The cluster as it was recorded: all is well but booking, which is killed as soon as it has loaded its seats."""
    snapshot = _healthy_cluster(manifests)
    snapshot = _killed_for_memory(snapshot)
    return reconnected(snapshot, frozenset(snapshot.workloads) - {BROKEN})


def _healthy_cluster(manifests: Mapping[Ref, Manifest]) -> Snapshot:
    nodes = {Ref("Node", name): _node(name) for name in ("quay-1", "quay-2")}
    snapshot = Snapshot(
        namespace=NAMESPACE,
        summary="Bookings fail with 503.",
        live={**manifests, **nodes},
        declared=manifests,
        probes=tuple(
            Probe(service.name, service.port, True, f"{service.name}:{service.port} open") for service in SERVICES
        ),
        calls={service.name: service.calls for service in SERVICES if service.calls},
    )
    for workload in snapshot.workloads:
        snapshot = with_ready_pods(snapshot, workload)
    return reconnected(snapshot, frozenset(snapshot.workloads))


def _node(name: str) -> Manifest:
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"conditions": [ready], "allocatable": {"cpu": "4", "memory": "8127048Ki"}},
    }


def _killed_for_memory(snapshot: Snapshot) -> Snapshot:
    live = dict(snapshot.live)
    pods = [ref for ref, _ in snapshot.pods_of(BROKEN)]
    for index, ref in enumerate(pods):
        status = {
            "name": "server",
            "ready": False,
            "restartCount": 11 - index,
            "state": {
                "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}
            },
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        }
        pod = live[ref]
        live[ref] = {**pod, "status": {**pod["status"], "conditions": [], "containerStatuses": [status]}}
    live[BROKEN] = {**live[BROKEN], "status": {"replicas": len(pods), "readyReplicas": 0}}
    live[Ref("Endpoints", BROKEN.name)] = {"kind": "Endpoints", "metadata": {"name": BROKEN.name}, "subsets": []}
    refused = "rpc error: code = Unavailable desc = dial tcp booking:7100: connect: connection refused"
    return replace(
        snapshot,
        live=live,
        events=tuple(
            Event(ref, "Warning", "BackOff", "Back-off restarting failed container server", count=40, age_s=20.0)
            for ref in pods
        ),
        logs=(
            LogLine("booking", "loading seats of 214 departures into the cache", count=22),
            LogLine("web", f"POST /book: {refused}", count=318),
        ),
        probes=tuple(
            Probe(probe.service, probe.port, False, f"{probe.service}:{probe.port}: connection refused")
            if probe.service == BROKEN.name
            else probe
            for probe in snapshot.probes
        ),
        signals=(Signal(Ref("Service", "web"), "errors", 8.1, 0.02, "web: 8.1 errors/s, normally 0.02"),),
        failures=(Failure("web", "/book", 503, 318, "POST /book: 503 (318 times)"),),
    )
