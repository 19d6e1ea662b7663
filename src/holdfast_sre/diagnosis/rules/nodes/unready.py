"""Nodes that are not ready, and the program that the cluster's own words blame for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from holdfast_sre.diagnosis.findings import Evidence, quote
from holdfast_sre.evidence.snapshot import Manifest, Ref, Snapshot, dig

Program = Literal["kubelet", "container runtime"]

_RUNTIME = re.compile(r"container runtime|PLEG is not healthy|containerd|runtime network not ready", re.IGNORECASE)
_STOPPED = re.compile(r"stopped posting node status|NodeStatusUnknown", re.IGNORECASE)


class Unready(msgspec.Struct, frozen=True):
    """A node whose Ready condition is not True; `blamed` is the program that the condition's words tell of."""

    node: Ref
    status: str
    reason: str
    message: str

    @property
    def blamed(self) -> Program | None:
        """None where the words tell of neither."""
        told = f"{self.reason} {self.message}"
        return "container runtime" if _RUNTIME.search(told) else "kubelet" if _STOPPED.search(told) else None


def unready_conditions(node: Ref, body: Manifest) -> Iterator[Unready]:
    """The node's Ready condition, where it is not True."""
    for condition in dig(body, "status.conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            reason, message = str(condition.get("reason", "")), str(condition.get("message", ""))
            yield Unready(node, str(condition.get("status")), reason, message)


def unwatched(snapshot: Snapshot) -> Iterator[Unready]:
    """The nodes that are not ready and whose programs nothing was recorded about: it would say more."""
    watched = {agent.node for agent in snapshot.agents}
    for ref, node in snapshot.of_kind("Node"):
        if ref.name not in watched:
            yield from unready_conditions(ref, node)


def blamed_nodes(snapshot: Snapshot, program: Program) -> Iterator[tuple[Ref, tuple[Evidence, ...]]]:
    """The nodes whose own words blame the program, where nobody asked the host."""
    for found in unwatched(snapshot):
        if found.blamed == program:
            yield found.node, (quote(found.node, f"Ready is {found.status}: {found.reason} {found.message}"),)
