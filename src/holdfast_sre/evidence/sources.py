"""What may be diagnosed: a recorded incident in one of two layouts, a dump of a cluster, or a folder of incidents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from holdfast import InvalidInput
from holdfast_sre.evidence.dump import Dump, read_dump
from holdfast_sre.evidence.incident_folders import Case, find_cases
from holdfast_sre.evidence.input_files import Notes, pieces_in, pieces_of
from holdfast_sre.evidence.opsbench import CACHE_FILE, Incident, is_incident, read_incident
from holdfast_sre.evidence.recording import CLUSTER_FILE, is_recording, load
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot

NAMESPACES_MAX = 50
"""How many namespaces of one dump are looked at."""
STANDARD_INPUT = "-"

Declared = Callable[[Snapshot], Mapping[Ref, Manifest]]
"""What manifests declare in the namespace of a snapshot, which tells what runs there."""


@dataclass(frozen=True)
class Source:
    """One thing to diagnose: its name and place, and how it is read. Reading raises InvalidInput."""

    case: Case
    read: Callable[[], Incident]


def find_sources(
    paths: Iterable[Path],
    *,
    stdin: Callable[[], IO[bytes]],
    namespace: str | None = None,
    declared: Declared | None = None,
) -> Iterator[Source]:
    """What there is to diagnose at or under the paths, in their order; `-` is standard input.

    Of a dump without `namespace` every namespace with objects is one source, the cluster's own left out. `declared` are
    the manifests for recordings and dumps, which need not hold them. Raises InvalidInput for a path that is none.
    """
    for path in paths:
        if str(path) == STANDARD_INPUT:
            notes = Notes()
            dump = read_dump(pieces_in(stdin(), "standard input", notes), "standard input", notes)
            yield from _of_dump(dump, namespace, declared)
        elif is_recording(path):
            yield Source(Case(path.name, path), _declaring(_recorded(path), declared))
        elif is_incident(path) or _holds_incidents(path):
            yield from (Source(case, _declaring(_frozen(case), declared)) for case in find_cases([path]))
        else:
            yield from _of_path(path, namespace, declared)


def _frozen(case: Case) -> Callable[[], Incident]:
    return lambda: read_incident(case.folder)


def _recorded(path: Path) -> Callable[[], Incident]:
    return lambda: Incident(load(path, {}), {})


def _declaring(read: Callable[[], Incident], declared: Declared | None) -> Callable[[], Incident]:
    """The same reading, with the manifests that were given."""
    if declared is None:
        return read

    def read_with() -> Incident:
        incident = read()
        return Incident(with_manifests(incident.snapshot, declared), incident.apps)

    return read_with


def _holds_incidents(path: Path) -> bool:
    return path.is_dir() and next(path.rglob(CACHE_FILE), None) is not None


def _of_path(path: Path, namespace: str | None, declared: Declared | None) -> Iterator[Source]:
    if not path.exists():
        raise InvalidInput(f"{path}: expected a folder, a dump or an archive, saw nothing", path=str(path))
    if path.is_dir() and not any(path.iterdir()):
        raise InvalidInput(
            f"{path}: expected incidents ({CACHE_FILE} or {CLUSTER_FILE}) or a dump's files, saw none", path=str(path)
        )
    notes = Notes()
    yield from _of_dump(read_dump(pieces_of(path, notes), str(path), notes), namespace, declared)


def _of_dump(dump: Dump, namespace: str | None, declared: Declared | None) -> Iterator[Source]:
    name = Path(dump.source).name
    names: list[str | None] = [namespace] if namespace is not None else list(dump.candidates())
    if len(names) > NAMESPACES_MAX:
        raise InvalidInput(
            f"{dump.source}: expected at most {NAMESPACES_MAX} namespaces, saw {len(names)}; name one: --namespace"
        )
    if not names:
        names = [None]  # objects of no namespace alone: nodes, volumes
    for each in names:
        shown = name if len(names) == 1 else f"{name}:{each}"
        yield Source(Case(shown, Path(dump.source)), _declaring(_chosen(dump, each), declared))


def _chosen(dump: Dump, namespace: str | None) -> Callable[[], Incident]:
    return lambda: Incident(dump.snapshot(namespace), {})


def with_manifests(snapshot: Snapshot, declared: Declared) -> Snapshot:
    """The snapshot with the manifests of its namespace as what is declared, in place of what was applied last."""
    mine = declared(snapshot)
    missing = tuple(text for text in snapshot.missing if not text.startswith("manifests:"))
    lacking = () if mine else (f"manifests: those that were given declare nothing in namespace {snapshot.namespace}",)
    return replace(snapshot, declared=mine, missing=(*missing, *lacking))
