"""A snapshot as one JSON file, in the shapes of the Kubernetes API: the neutral form of an incident.

    incident/cluster.json     namespace, summary, items, events, logs, probes, agents, signals, measures, failures,
                              calls, taken_at
    incident/tickets/         who asked for help
    incident/manifests.git    the repository of manifests, with its history

`items` are objects as `kubectl get -o json` prints them. What is declared is not recorded: the repository says it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from holdfast import InvalidInput
from holdfast_sre.evidence.snapshot import (
    Event,
    Failure,
    LogLine,
    Manifest,
    Measure,
    NodeAgent,
    Probe,
    Ref,
    Signal,
    Snapshot,
)
from holdfast_sre.files import read_text, replace_text

CLUSTER_FILE = "cluster.json"
TICKETS_FOLDER = "tickets"
MANIFESTS_FOLDER = "manifests.git"
RECORDING_BYTES_MAX = 64 << 20


class Recording(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `cluster.json` holds."""

    namespace: str
    summary: str = ""
    items: tuple[dict[str, Any], ...] = ()
    events: tuple[Event, ...] = ()
    logs: tuple[LogLine, ...] = ()
    probes: tuple[Probe, ...] = ()
    agents: tuple[NodeAgent, ...] = ()
    signals: tuple[Signal, ...] = ()
    measures: tuple[Measure, ...] = ()
    failures: tuple[Failure, ...] = ()
    calls: dict[str, tuple[str, ...]] = {}
    taken_at: str = ""
    missing: tuple[str, ...] = ()


def is_recording(folder: Path) -> bool:
    """Whether a folder holds an incident in this form."""
    return (folder / CLUSTER_FILE).is_file()


def load(folder: Path, declared: Mapping[Ref, Manifest]) -> Snapshot:
    """The snapshot recorded in an incident's folder, with what its repository declares.

    Raises InvalidInput, naming file, expectation and finding, for a folder without a recording or a damaged one.
    """
    path = folder / CLUSTER_FILE
    try:
        recording = msgspec.json.decode(read_text(path, bytes_max=RECORDING_BYTES_MAX), type=Recording)
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder}: expected a file {CLUSTER_FILE}, found none", path=str(folder)) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidInput(f"{path}: expected a recorded cluster: {error}", path=str(path)) from error
    return Snapshot(
        namespace=recording.namespace,
        summary=recording.summary,
        live={_ref(item, path): item for item in recording.items},
        declared=declared,
        events=recording.events,
        logs=recording.logs,
        probes=recording.probes,
        agents=recording.agents,
        signals=recording.signals,
        measures=recording.measures,
        failures=recording.failures,
        calls=recording.calls,
        taken_at=recording.taken_at,
        missing=recording.missing,
    )


def save(folder: Path, snapshot: Snapshot) -> None:
    """Write a snapshot into an incident's folder. What it declares is left to the repository."""
    recording = Recording(
        namespace=snapshot.namespace,
        summary=snapshot.summary,
        items=tuple({"kind": ref.kind, **snapshot.live[ref]} for ref in sorted(snapshot.live)),
        events=snapshot.events,
        logs=snapshot.logs,
        probes=snapshot.probes,
        agents=snapshot.agents,
        signals=snapshot.signals,
        measures=snapshot.measures,
        failures=snapshot.failures,
        calls=dict(snapshot.calls),
        taken_at=snapshot.taken_at,
        missing=snapshot.missing,
    )
    replace_text(folder / CLUSTER_FILE, msgspec.json.format(msgspec.json.encode(recording)).decode() + "\n")


def _ref(item: Mapping[str, Any], path: Path) -> Ref:
    metadata = item.get("metadata")
    kind, name = item.get("kind"), metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(kind, str) or not isinstance(name, str):
        raise InvalidInput(f"{path}: expected items with kind and metadata.name, saw keys {sorted(item)[:8]}")
    return Ref(kind, name)
