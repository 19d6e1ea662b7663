"""What a soak judges by, pure: each audit takes evidence and gives what is wrong with it, one sentence a fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from holdfast.testing.soak import shapes
from holdfast.testing.soak.lines import Line
from holdfast.testing.soak.shapes import Shape

JUDGED_FROM_S = 300.0
"""What the processes of a shorter soak have is reported, not judged: a process that has just begun grows."""
MEMORY_GROWTH_MAX = 0.25
MEMORY_SLACK_MIB = 16.0
OPEN_GROWTH_MAX = 0.5
OPEN_SLACK = 8.0


class Move(NamedTuple):
    """One transition in a run's journal."""

    source: str
    target: str
    trigger: str
    version: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the store has it at the end. `leaves`: its active states with their visits; `outcome`: the final state
    of one that has ended."""

    ticket: str
    workflow: str
    user: str
    status: str
    outcome: str
    leaves: Mapping[str, int]
    data: Mapping[str, Any]
    moves: Sequence[Move]


class Sample(NamedTuple):
    """What one process had at a moment (seconds since the soak began)."""

    by: str
    at_s: float
    memory_mib: float
    descriptors: int
    connections: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that is judged. `verified`: what `StoreAdmin.verify` found; `gaps`: holes in users' streams; `endings`: how
    processes ended that should not have; `ailments`: what processes said was wrong with them in the end."""

    seed: int
    lines: Sequence[Line]
    runs: Mapping[str, Seen]
    samples: Sequence[Sample] = ()
    verified: Sequence[str] = ()
    gaps: Sequence[str] = ()
    endings: Sequence[str] = ()
    lasted_s: float = 0.0

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """The workflows by name."""
        return {shape.name: shape for shape in shapes.shapes(self.seed)}


class Growth(NamedTuple):
    """How one figure of a process went: medians of its second and its last quarter, and the slope between them."""

    by: str
    what: str
    early: float
    late: float
    slope_per_hour: float


def lost_starts(evidence: Evidence) -> Iterable[str]:
    """An acknowledged start is a run in the store."""
    for line in evidence.lines:
        if line.what == "started" and line.run not in evidence.runs:
            yield f"run {line.run}: its start was acknowledged to {line.by}, and the store has no such run"


def stranded_runs(evidence: Evidence) -> Iterable[str]:
    """Every run has ended where it should, or waits for what nobody gives."""
    known = evidence.shapes
    for run in evidence.runs.values():
        waiting = {stage.path for stage in known[run.workflow].stages if stage.kind == "approval"}
        is_asked = shapes.is_answered(evidence.seed, run.ticket)
        if run.status in ("done", "cancelled"):
            if run.outcome not in _ends(evidence.seed, run):
                yield f"run {run.ticket}: expected an end in {_ends(evidence.seed, run)}, saw {run.outcome}"
        elif run.status != "waiting" or is_asked or not set(run.leaves) <= waiting:
            yield f"run {run.ticket} of {run.workflow}: expected an end, saw it {run.status} in {dict(run.leaves)}"


def _ends(seed: int, run: Seen) -> set[str]:
    """Where the decisions about a run lead it, by the visits of approvals that its journal tells."""
    final: set[str] = {"done"}
    for move in run.moves:
        if move.trigger in (shapes.REJECT, "cancel"):
            final = {shapes.ENDS[move.trigger]}
    return final


def repeated_effects(evidence: Evidence) -> Iterable[str]:
    """What should happen once was presented to the world under one key."""
    keys: dict[str, set[str]] = defaultdict(set)
    owners: dict[str, set[str]] = defaultdict(set)
    for line in evidence.lines:
        if line.what == "effect":
            keys[line.about].add(line.key)
            owners[line.key].add(line.about)
    for about, found in keys.items():
        if len(found) > 1:
            yield f"effect {about}: expected one key, saw {len(found)}: {', '.join(sorted(found))}"
    for key, abouts in owners.items():
        if len(abouts) > 1:
            yield f"key {key}: expected one effect, saw {', '.join(sorted(abouts))}"


def unbacked_effects(evidence: Evidence) -> Iterable[str]:
    """What a run believes to have done was done, and what was done for a run that went on is known to it."""
    keys: dict[str, dict[str, str]] = defaultdict(dict)
    for line in evidence.lines:
        if line.what == "effect":
            keys[line.run].setdefault(line.about.removeprefix(f"{line.run}/"), line.key)
    for run in evidence.runs.values():
        believed = {place: key for place, key in run.data.items() if place != "resource"}
        for place in believed.keys() - keys[run.ticket].keys():
            yield f"run {run.ticket}: it believes in effect {place}, of which the world has not heard"
        for place in keys[run.ticket].keys() - believed.keys():
            yield f"run {run.ticket}: effect {place} happened, and the run, {run.status}, has forgotten it"


def missing_effects(evidence: Evidence) -> Iterable[str]:
    """A run that is done has been everywhere."""
    known = evidence.shapes
    for run in evidence.runs.values():
        if run.outcome != "done":
            continue
        for stage in known[run.workflow].stages:
            for state, name in stage.places:
                place = name if stage.kind == "once" else f"{state}#1/{name}"
                if place not in run.data:
                    yield f"run {run.ticket}: it is done without effect {place}"


def lost_decisions(evidence: Evidence) -> Iterable[str]:
    """A decision that was acknowledged is in the journal."""
    wanted: Counter[tuple[str, str, str]] = Counter()
    for run, about in dict.fromkeys((line.run, line.about) for line in evidence.lines if line.what == "judged"):
        visit, _, verdict = about.partition("/")
        wanted[run, visit.partition("#")[0], verdict] += 1
    for (ticket, state, verdict), count in wanted.items():
        moves = evidence.runs[ticket].moves if ticket in evidence.runs else ()
        told = sum(move.trigger == verdict and move.source == state for move in moves)
        if told < count:
            yield f"run {ticket}: {verdict} of {state} was acknowledged {count} times, and its journal tells {told}"


def illegal_moves(evidence: Evidence) -> Iterable[str]:
    """Every transition is one that the workflow has, and versions rise."""
    allowed = {name: _allowed(shape) for name, shape in evidence.shapes.items()}
    for run in evidence.runs.values():
        version = 0
        for move in run.moves:
            pair = (_stage_of(move.source), _stage_of(move.target))
            if pair[0] != pair[1] and pair not in allowed[run.workflow]:
                yield f"run {run.ticket}: its workflow has no transition from {move.source!r} to {move.target!r}"
            if move.version < version:
                yield f"run {run.ticket}: its journal goes back from version {version} to {move.version}"
            version = move.version


def _allowed(shape: Shape) -> set[tuple[str, str]]:
    paths = [stage.path for stage in shape.stages]
    pairs = set(zip(["", *paths], [*paths, "done"], strict=True)) | {(path, "cancelled") for path in paths}
    for stage in shape.stages:
        if stage.kind == "approval":
            pairs |= {(stage.path, paths[0]), (stage.path, "rejected")}
        if stage.kind in ("flaky", "steps", "regions", "lock", "once"):
            pairs |= {(stage.path, "error_handling"), ("error_handling", stage.path)}
    return pairs


def _stage_of(text: str) -> str:
    """The top-level state of a journal's "s1:r0|s1:r1"."""
    return text.partition("|")[0].partition(":")[0]


def twice_owned(evidence: Evidence) -> Iterable[str]:
    """An epoch of a run is one engine's."""
    owners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in evidence.lines:
        if line.what == "owns" and line.number:
            owners[line.run, line.number].add(line.key)
    for (run, epoch), found in owners.items():
        if len(found) > 1:
            yield f"run {run}: expected one owner in epoch {epoch}, saw {', '.join(sorted(found))}"


def broken_locks(evidence: Evidence) -> Iterable[str]:
    """A token is one visit's, and who was inside when somebody with a later token came in had lost its run: the visit
    came in again. A lower token than the highest one seen is refused by the resource, so it does not count."""
    returns: Counter[str] = Counter(line.about for line in evidence.lines if line.what == "in")
    holders: dict[tuple[str, int], set[str]] = defaultdict(set)
    highest: dict[str, int] = defaultdict(int)
    inside: dict[str, str] = {}
    for line in evidence.lines:
        if line.what == "in":
            returns[line.about] -= 1
            holders[line.key, line.number].add(line.about)
            if line.number < highest[line.key]:
                continue
            if (other := inside.get(line.key, line.about)) != line.about and not returns[other]:
                yield f"resource {line.key}: {line.about} came in with token {line.number} while {other} was inside"
            highest[line.key] = line.number
            inside[line.key] = line.about
        elif line.what == "out" and inside.get(line.key) == line.about and line.number == highest[line.key]:
            del inside[line.key]
    for (resource, token), abouts in holders.items():
        if len(abouts) > 1 or not token:
            yield f"resource {resource}: token {token} was had by {', '.join(sorted(abouts))}"


def unsound_stores(evidence: Evidence) -> Iterable[str]:
    """Every digest, chain and stream is whole."""
    yield from evidence.verified
    yield from evidence.gaps


def bad_endings(evidence: Evidence) -> Iterable[str]:
    """Processes end when they are told to, and well."""
    yield from evidence.endings
    for line in evidence.lines:
        if line.what == "health" and line.about:
            yield f"process {line.by}: expected it to be well in the end, saw {line.about}"


def growths(evidence: Evidence) -> list[Growth]:
    """How memory, descriptors and connections went in each process that was there from the beginning to the end."""
    by: dict[str, list[Sample]] = defaultdict(list)
    for sample in evidence.samples:
        by[sample.by].append(sample)
    found = []
    for name, samples in by.items():
        if len(samples) < 8 or samples[-1].at_s - samples[0].at_s < evidence.lasted_s / 2:
            continue
        found += [_growth(name, what, samples) for what in ("memory_mib", "descriptors", "connections")]
    return found


def _growth(by: str, what: str, samples: Sequence[Sample]) -> Growth:
    quarter = len(samples) // 4
    values = [float(getattr(sample, what)) for sample in samples]
    early, late = _median(values[quarter : 2 * quarter]), _median(values[-quarter:])
    between_s = samples[-quarter // 2].at_s - samples[quarter + quarter // 2].at_s
    return Growth(by, what, early, late, (late - early) / between_s * 3600)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def leaks(evidence: Evidence) -> Iterable[str]:
    """A process that lives long stays as it is."""
    if evidence.lasted_s < JUDGED_FROM_S:
        return
    for growth in growths(evidence):
        is_memory = growth.what == "memory_mib"
        share, slack = (MEMORY_GROWTH_MAX, MEMORY_SLACK_MIB) if is_memory else (OPEN_GROWTH_MAX, OPEN_SLACK)
        if growth.late > growth.early * (1 + share) + slack:
            yield f"process {growth.by}: {growth.what} grew from {growth.early:g} to {growth.late:g}"


Audit = Callable[[Evidence], Iterable[str]]

AUDITS: Mapping[str, Audit] = {
    "lost starts": lost_starts,
    "stranded runs": stranded_runs,
    "repeated effects": repeated_effects,
    "unbacked effects": unbacked_effects,
    "missing effects": missing_effects,
    "lost decisions": lost_decisions,
    "illegal moves": illegal_moves,
    "twice owned": twice_owned,
    "broken locks": broken_locks,
    "unsound stores": unsound_stores,
    "bad endings": bad_endings,
    "leaks": leaks,
}


def audited(evidence: Evidence) -> dict[str, list[str]]:
    """What each audit found, of those that found something."""
    found = {name: list(audit(evidence)) for name, audit in AUDITS.items()}
    return {name: faults for name, faults in found.items() if faults}
