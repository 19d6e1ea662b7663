"""Recorded incidents made into others: other names, another order, parts of the evidence taken away."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from holdfast_sre.evidence.opsbench import read_incident
from holdfast_sre.evidence.snapshot import Snapshot

_VOWELS, _CONSONANTS = "aeiou", "bdfgklmnprstvz"


def without_kind(kind: str) -> Callable[[Snapshot], Snapshot]:
    """Takes all live objects of a kind away."""
    return lambda snapshot: replace(
        snapshot, live={ref: body for ref, body in snapshot.live.items() if ref.kind != kind}
    )


WITHOUT: Mapping[str, Callable[[Snapshot], Snapshot]] = {
    "alerts": lambda snapshot: replace(snapshot, signals=()),
    "metrics": lambda snapshot: replace(snapshot, measures=()),
    "failed requests": lambda snapshot: replace(snapshot, failures=()),
    "connection attempts": lambda snapshot: replace(snapshot, probes=()),
    "node services": lambda snapshot: replace(snapshot, agents=()),
    "recorded calls": lambda snapshot: replace(snapshot, calls={}),
    "logs": lambda snapshot: replace(snapshot, logs=()),
    "events": lambda snapshot: replace(snapshot, events=()),
    "nodes": without_kind("Node"),
    "replica sets": without_kind("ReplicaSet"),
    "endpoints": without_kind("Endpoints"),
    "secrets": without_kind("Secret"),
    "accounts": without_kind("ServiceAccount"),
}


def shuffled(snapshot: Snapshot, seed: int) -> Snapshot:
    """The same moment, everything in another order."""
    chance = random.Random(seed)

    def mixed(items: object) -> list:  # type: ignore[type-arg]
        found = list(items)  # type: ignore[call-overload]
        chance.shuffle(found)
        return found

    return replace(
        snapshot,
        live=dict(mixed(snapshot.live.items())),
        declared=dict(mixed(snapshot.declared.items())),
        events=tuple(mixed(snapshot.events)),
        logs=tuple(mixed(snapshot.logs)),
        probes=tuple(mixed(snapshot.probes)),
        agents=tuple(mixed(snapshot.agents)),
        signals=tuple(mixed(snapshot.signals)),
        measures=tuple(mixed(snapshot.measures)),
        failures=tuple(mixed(snapshot.failures)),
        calls=dict(mixed(snapshot.calls.items())),
    )


def renamed(folder: Path, target: Path, seed: str) -> Path:
    """A copy of an incident in which applications, their words, nodes and the namespace have other names.

    Of the same length, for kubectl's tables are cut at columns; the same word of several names stays the same word.
    """
    chance = random.Random(seed)
    incident = read_incident(folder)
    used: set[str] = set()

    def word(length: int) -> str:
        while True:
            made = "".join(chance.choice(_VOWELS if place % 2 else _CONSONANTS) for place in range(length))
            if made not in used:
                used.add(made)
                return made

    names = sorted(set(incident.apps.values()))
    parts = sorted({part for name in names for part in name.split("-") if len(part) > 2 and part != "service"})
    words = {part: word(len(part)) for part in parts}
    full = {name: "-".join(words.get(part, part) for part in name.split("-")) for name in names}
    full[incident.snapshot.namespace] = word(len(incident.snapshot.namespace))
    for index, (ref, _) in enumerate(incident.snapshot.of_kind("Node")):
        full[ref.name] = word(len(ref.name) - 1) + str(index)
    # A role is no name, even where a node is named after it.
    pattern = re.compile("(?<!role=)(?:" + "|".join(map(re.escape, sorted(full, key=len, reverse=True))) + ")")

    def told(text: str) -> str:
        text = pattern.sub(lambda found: full[found[0]], text)
        return re.sub(
            r"(- id: )([a-z0-9-]+)",
            lambda found: found[1] + "-".join(words.get(part, part) for part in found[2].split("-")),
            text,
        )

    target.mkdir(parents=True)
    for path in sorted(folder.iterdir()):
        text = told(path.read_text(encoding="utf-8"))
        if path.name == "tool_cache.json":
            items = list(json.loads(text).items())
            chance.shuffle(items)
            text = json.dumps(dict(items))
        (target / path.name).write_text(text, encoding="utf-8")
    return target
