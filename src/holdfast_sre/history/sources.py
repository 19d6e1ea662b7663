"""The history of the services' own sources: what is asked of it, what it answers, and whose it is that matters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from holdfast_sre.diagnosis.causes import dependencies
from holdfast_sre.diagnosis.findings import Finding
from holdfast_sre.evidence.snapshot import WORKLOAD_KINDS, Ref, Snapshot
from holdfast_sre.history.keys import Key, known_keys
from holdfast_sre.history.running import RunningName, earlier_names, running_names
from holdfast_sre.history.touched import KeyChange
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.changelog import Edit
from holdfast_sre.repair.proof.blast_radius import users_of


class SourceCommit(msgspec.Struct, frozen=True):
    """One commit of a service's source. `commit.paths` are the first of the `files` that it changed, `binaries` of
    them no text. `is_cut`: not all of its diff was looked at."""

    commit: Commit
    files: int
    keys: tuple[KeyChange, ...] = ()
    binaries: int = 0
    is_cut: bool = False


class SourcePast(msgspec.Struct, frozen=True):
    """What changed in the source of `service`, newest first.

    `upto` is the commit that runs, as `running` says, else the head. `rollout` names what ran before and what runs now
    (`2.0 -> 2.1`) where the commits are those in between, whenever they were made. `missing` is what could not be
    known.
    """

    service: str
    commits: tuple[SourceCommit, ...]
    upto: Revision
    running: str
    rollout: str = ""
    missing: tuple[str, ...] = ()


class Question(msgspec.Struct, frozen=True):
    """What is asked of a source: the names of what runs and of what ran before, the time from which commits count
    (epoch seconds, None for the last ones), and the keys that the manifests know."""

    service: str
    now: tuple[RunningName, ...]
    before: tuple[RunningName, ...]
    since_s: float | None
    known: frozenset[Key]


class SourcePort(Protocol):
    """The git history of one service's source."""

    async def past(self, question: Question) -> SourcePast:
        """What changed. Raises InvalidInput where there is no commit, Unavailable where git does not answer."""
        ...

    async def users(self, name: str) -> tuple[str, ...]:
        """The files at the head in which a name stands as a whole word; some, where there are many."""
        ...


Sources = Mapping[str, SourcePort]
"""By the name of the workload or service that a source is of."""


def workloads_named(snapshot: Snapshot, name: str) -> tuple[Ref, ...]:
    """The workloads that a source's name means: those called so, else those behind the service called so."""
    called = tuple(ref for ref in snapshot.workloads if ref.name == name)
    return called or tuple(snapshot.workloads_behind(name))


def names_in(snapshot: Snapshot) -> frozenset[str]:
    """The names that a source may have."""
    return frozenset(ref.name for ref in (*snapshot.workloads, *(ref for ref, _ in snapshot.of_kind("Service"))))


def blamed_services(snapshot: Snapshot, finding: Finding) -> frozenset[str]:
    """The names of the workloads that a finding is about: its object, what is behind it, or who uses it."""
    about = finding.object
    if about.kind not in (*WORKLOAD_KINDS, "Service", "Node", "Namespace"):
        about = snapshot.owner_of(about)
    if about.kind in WORKLOAD_KINDS:
        return frozenset({about.name})
    if about.kind == "Service":
        return frozenset({about.name, *(ref.name for ref in snapshot.workloads_behind(about.name))})
    found = {ref.name for ref in users_of(snapshot, about) if ref.kind in WORKLOAD_KINDS}
    return frozenset(found)


def neighbours(snapshot: Snapshot, services: Iterable[str]) -> Mapping[str, str]:
    """Who calls the services, and whom they call, with which of both."""
    edges, mine = dependencies(snapshot), frozenset(services)
    found: dict[str, str] = {}
    for name in sorted(mine):
        for callee in sorted(edges.get(name, ())):
            found.setdefault(callee, f"called by {name}")
        for caller in sorted(caller for caller, callees in edges.items() if name in callees):
            found.setdefault(caller, f"calls {name}")
    return {name: how for name, how in found.items() if name not in mine}


def questions(
    snapshot: Snapshot,
    sources: Sources,
    edits: Sequence[Edit] = (),
    *,
    healthy_at_s: float | None = None,
) -> tuple[Question, ...]:
    """What to ask each source that is of somebody in the snapshot, by name."""
    there = names_in(snapshot)
    known = known_keys(snapshot) if sources else frozenset()
    found = []
    for service in sorted(there.intersection(sources)):
        workloads = workloads_named(snapshot, service)
        now = tuple(dict.fromkeys(name for ref in workloads for name in running_names(snapshot, ref)))
        before = tuple(
            dict.fromkeys(
                name for ref in workloads for name in earlier_names(snapshot, ref, edits, healthy_at_s=healthy_at_s)
            )
        )
        found.append(Question(service, now, before, healthy_at_s, known))
    return tuple(found)
