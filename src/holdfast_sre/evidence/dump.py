"""Reader of what a user really has: `kubectl get -o json` or `-o yaml` of anything, and `kubectl cluster-info dump`.

A folder, an archive, a file or a stream; lists, several documents, both forms of events, logs beside the objects. One
namespace is one snapshot. What a dump lacks, what does not parse and what nobody knows is said by name in `missing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from holdfast import InvalidInput
from holdfast_sre.evidence.dump_events import event_of, moment_of, told_moment
from holdfast_sre.evidence.input_files import Notes, Piece, decoded
from holdfast_sre.evidence.live_objects import (
    CLUSTER_KINDS,
    KNOWN_KINDS,
    applied_text,
    endpoints_of,
    fit,
    kind_of,
    live_fault,
    with_requests,
)
from holdfast_sre.evidence.manifest_shapes import shape_fault
from holdfast_sre.evidence.object_texts import is_object, objects_in, size_of
from holdfast_sre.evidence.pod_logs import PodLog, log_of_file, split_stream
from holdfast_sre.evidence.service_calls import calls_of
from holdfast_sre.evidence.snapshot import LogLine, Manifest, Ref, Snapshot, dig

SYSTEM_NAMESPACES = frozenset({"kube-system", "kube-public", "kube-node-lease"})
DEFAULT_NAMESPACE = "default"
NAMES_TOLD_MAX = 8

_EXPECTED = {
    "Pod": "pods",
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "Service": "services",
    "Endpoints": "endpoints",
    "ConfigMap": "configmaps",
    "PersistentVolumeClaim": "pvc",
    "ServiceAccount": "serviceaccounts",
    "ResourceQuota": "resourcequota",
    "Node": "nodes",
}
_MADE_BY_CLUSTERS = frozenset(
    {"Pod", "ReplicaSet", "Event", "Endpoints", "EndpointSlice", "Node", "ControllerRevision"}
)
_NEVER_IN_A_DUMP = "measured deviations, connection attempts and the state of the nodes' programs: no dump holds them"


@dataclass
class Dump:
    """All that was read, before a namespace is chosen."""

    source: str
    items: list[dict[str, Any]] = field(default_factory=list)
    logs: list[PodLog] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def namespaces(self) -> dict[str, int]:
        """How many objects each namespace has, by name; those of no namespace belong to none here."""
        counts = Counter(_namespace(item) for item in self.items if item["kind"] not in CLUSTER_KINDS)
        return dict(sorted(counts.items()))

    def candidates(self) -> list[str]:
        """The namespaces to look at: those with objects, the cluster's own left out unless there is no other."""
        counts = self.namespaces()
        return [name for name in counts if name not in SYSTEM_NAMESPACES] or list(counts)

    def snapshot(self, namespace: str | None = None) -> Snapshot:
        """One namespace. Raises InvalidInput where none is named and there are several, or it has no object."""
        counts = self.namespaces()
        if namespace is None:
            found = self.candidates()
            if len(found) > 1:
                told = ", ".join(f"{name} ({counts[name]} objects)" for name in found[:NAMES_TOLD_MAX])
                raise InvalidInput(
                    f"{self.source}: expected one namespace, saw {len(found)}: {told}; say which: --namespace NAME",
                    namespaces=found,
                )
            namespace = found[0] if found else DEFAULT_NAMESPACE
        elif counts and namespace not in counts:
            names = ", ".join(list(counts)[:NAMES_TOLD_MAX])
            raise InvalidInput(
                f"{self.source}: expected objects of namespace {namespace!r}, saw those of {names}",
                namespaces=list(counts),
            )
        return _Reading(self, namespace).snapshot()


def read_dump(pieces: Iterable[Piece], source: str, notes: Notes) -> Dump:
    """Everything in the pieces. Raises InvalidInput, with the reasons, where they hold no object at all."""
    dump = Dump(source, notes=notes)
    files = 0
    for piece in pieces:
        files += 1
        _read_piece(dump, piece)
    if not dump.items:
        reasons = "; ".join(notes.said[:3]) or "no object in any of them"
        raise InvalidInput(
            f"{source}: expected Kubernetes objects as JSON or YAML, saw {files} files: {reasons}", source=source
        )
    return dump


def _read_piece(dump: Dump, piece: Piece) -> None:
    text = decoded(piece.data)
    is_text = not piece.name.lower().endswith((".json", ".yaml", ".yml", ".jsonl", ".ndjson"))
    if is_text and not _looks_like_objects(text):
        dump.logs.extend(log for log in log_of_file(piece.name, text) if log.lines)
        return
    rest, logs = split_stream(text)
    dump.logs.extend(log for log in logs if log.lines)
    found = objects_in(rest, piece.name, dump.notes)
    if not found and not text.strip():
        dump.notes.add(f"{piece.name}: empty")
    dump.items.extend(found)


def _looks_like_objects(text: str) -> bool:
    head = text[:4096].lstrip("\ufeff \r\n\t")
    return head.startswith(("{", "[", "apiVersion:", "kind:", "---", "items:"))


def _namespace(item: Mapping[str, Any]) -> str:
    name = dig(item, "metadata.namespace")
    return name if isinstance(name, str) and name else DEFAULT_NAMESPACE


def _is_marked(item: Mapping[str, Any]) -> bool:
    return bool(dig(item, "metadata.uid") or dig(item, "metadata.resourceVersion")) or "status" in item


class _Reading:
    """One namespace of a dump on its way to a snapshot."""

    def __init__(self, dump: Dump, namespace: str) -> None:
        self._dump = dump
        self._namespace = namespace
        self._notes = Notes()
        self._live: dict[Ref, Manifest] = {}
        self._declared: dict[Ref, Manifest] = {}
        self._is_from_a_cluster = any(_is_marked(item) for item in dump.items)

    def snapshot(self) -> Snapshot:
        mine = [item for item in self._dump.items if self._is_mine(item)]
        for item in mine:
            self._take(item)
        slices = [item for item in mine if item["kind"] == "EndpointSlice"]
        for service, found in endpoints_of(slices).items():
            ref = Ref("Endpoints", service)
            if live_fault(ref, found) is None:
                self._live.setdefault(ref, found)
        self._fill_nodes()
        moment_s = moment_of(self._dump.items)
        seen = [event_of(item, moment_s) for item in mine if item["kind"] == "Event"]
        events = tuple(dict.fromkeys(event for event in seen if event is not None))
        snapshot = Snapshot(
            namespace=self._namespace, live=self._live, declared=self._declared, events=events, missing=()
        )
        logs = tuple(self._log_lines(snapshot))
        missing = self._missing(has_events=bool(events), has_logs=bool(self._dump.logs))
        return Snapshot(
            namespace=self._namespace,
            summary=f"namespace {self._namespace} of {self._dump.source}",
            live=self._live,
            declared=self._declared,
            events=events,
            logs=logs,
            calls=calls_of(snapshot),
            taken_at=told_moment(moment_s),
            missing=missing,
        )

    def _is_mine(self, item: Mapping[str, Any]) -> bool:
        if item["kind"] == "Event":
            about = item.get("involvedObject") or item.get("regarding")
            kind = about.get("kind") if isinstance(about, dict) else None
            return (isinstance(kind, str) and kind in CLUSTER_KINDS) or _namespace(item) == self._namespace
        return item["kind"] in CLUSTER_KINDS or _namespace(item) == self._namespace

    def _take(self, item: dict[str, Any]) -> None:
        if item["kind"] == "Event":
            return
        ref = Ref(kind_of(item), item["metadata"]["name"])
        if self._is_manifest(item):
            self._declare(ref, fit(item), "")
            return
        fault = live_fault(ref, item)
        if fault:
            self._notes.add(f"{fault}; left out")
            return
        if ref in self._live:
            self._notes.add(f"{ref}: there twice, the first was taken")
            return
        self._live[ref] = fit(item)
        text = applied_text(item)
        if text is not None:
            self._declare_applied(ref, text)

    def _is_manifest(self, item: Mapping[str, Any]) -> bool:
        """Whether an object was written by a person: no cluster gave it an identity or a state."""
        return not _is_marked(item) and item["kind"] not in _MADE_BY_CLUSTERS

    def _declare_applied(self, ref: Ref, text: str) -> None:
        try:
            manifest = msgspec.json.decode(text)
            size_of(manifest)
        except (msgspec.DecodeError, ValueError, RecursionError):
            self._notes.add(f"{ref}: what was applied last does not parse, left out")
            return
        if is_object(manifest) and Ref(kind_of(manifest), manifest["metadata"]["name"]) == ref:
            self._declare(ref, fit(manifest), " (as applied last)")

    def _declare(self, ref: Ref, manifest: Manifest, what: str) -> None:
        fault = shape_fault(ref, manifest)
        if fault:
            self._notes.add(f"{fault}{what}; left out")
        else:
            self._declared.setdefault(ref, manifest)

    def _fill_nodes(self) -> None:
        pods = [item for item in self._dump.items if item["kind"] == "Pod"]
        for ref in [ref for ref in self._live if ref.kind == "Node"]:
            self._live[ref] = with_requests(self._live[ref], pods)

    def _log_lines(self, snapshot: Snapshot) -> Iterator[LogLine]:
        for log in self._dump.logs:
            pod = Ref("Pod", log.pod)
            if log.namespace not in ("", self._namespace) or (not log.namespace and pod not in snapshot.live):
                continue
            workload = snapshot.owner_of(pod).name
            yield from (LogLine(workload, text, count) for text, count in log.lines)

    def _missing(self, *, has_events: bool, has_logs: bool) -> tuple[str, ...]:
        present = {ref.kind for ref in self._live}
        lacking = [f"kubectl get {word}" for kind, word in _EXPECTED.items() if kind not in present]
        if not self._is_from_a_cluster:
            lacking.append("anything that a cluster wrote: no object has an identity or a status; are these manifests?")
        if not has_events:
            lacking.append("kubectl get events")
        if not has_logs:
            lacking.append("logs of the containers")
        if not self._declared:
            lacking.append("manifests: no object tells what was applied; give them with --manifests")
        others = {name: count for name, count in self._dump.namespaces().items() if name != self._namespace}
        if others:
            told = ", ".join(f"{name} ({count} objects)" for name, count in list(others.items())[:NAMES_TOLD_MAX])
            lacking.append(f"other namespaces of the dump are looked at on their own: {told}")
        unknown = Counter(
            ref.kind for ref in self._live if ref.kind not in KNOWN_KINDS and ref.kind not in CLUSTER_KINDS
        )
        if unknown:
            told = ", ".join(f"{kind} ({count})" for kind, count in unknown.most_common(NAMES_TOLD_MAX))
            lacking.append(f"no rule knows these kinds: {told}")
        return (*lacking, *self._dump.notes.said, *self._notes.said, _NEVER_IN_A_DUMP)
