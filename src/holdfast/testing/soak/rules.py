"""What a soak judges by, pure: each audit takes evidence and gives what is wrong with it, one sentence a fault."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from holdfast.testing.soak import growth, shapes
from holdfast.testing.soak.growth import Sample
from holdfast.testing.soak.lines import Line
from holdfast.testing.soak.shapes import Shape

ERROR_HANDLING = "error_handling"
"""Where a journal says that a run is while it rests before it tries a state again."""


class Move(NamedTuple):
    """One transition in a run's journal."""

    source: str
    target: str
    trigger: str
    version: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the store has it at the end. `parent`: the id of the run that started it, or ""; `leaves`: its active
    states with their visits; `outcome`: the final state of one that has ended."""

    ticket: str
    id: str = ""
    parent: str = ""
    workflow: str
    user: str
    status: str
    outcome: str
    leaves: Mapping[str, int]
    data: Mapping[str, Any]
    moves: Sequence[Move]


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
        return {shape.name: shape for shape in (*shapes.shapes(self.seed), *shapes.others())}


def lost_starts(evidence: Evidence) -> Iterable[str]:
    """An acknowledged start is a run in the store."""
    for line in evidence.lines:
        if line.what == "started" and line.run not in evidence.runs:
            yield f"run {line.run}: its start was acknowledged to {line.by}, and the store has no such run"


def stranded_runs(evidence: Evidence) -> Iterable[str]:
    """Every run has ended where it should, or waits for what nobody gives."""
    known = evidence.shapes
    newest = max((run.ticket for run in evidence.runs.values() if run.workflow == shapes.TICK), default="")
    for run in evidence.runs.values():
        if run.ticket == newest:
            continue  # the schedule goes on until the last process has ended
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
    """What a run believes to have done was done, and what was done for a run that went on is known to it. A visit tells
    its run in the commit that ends it: of one that is not over, which strands a run, nothing is known yet."""
    known = evidence.shapes
    keys: dict[str, dict[str, str]] = defaultdict(dict)
    for line in evidence.lines:
        if line.what == "effect":
            keys[line.run].setdefault(line.about.removeprefix(f"{line.run}/"), line.key)
    for run in evidence.runs.values():
        believed = {place: key for place, key in run.data.items() if _is_effect(place)}
        broken_off = _broken_off(run)
        for place in believed.keys() - keys[run.ticket].keys():
            yield f"run {run.ticket}: it believes in effect {place}, of which the world has not heard"
        for place in keys[run.ticket].keys() - believed.keys():
            if _is_of(place, broken_off, known[run.workflow]):
                continue  # a visit that was cancelled in the middle never told its run what it had done
            if _is_open(place, run, known[run.workflow]):
                continue
            yield f"run {run.ticket}: effect {place} happened, and the run, {run.status}, has forgotten it"


def _is_open(place: str, run: Seen, shape: Shape) -> bool:
    """Whether an effect's place is a visit that the run is in: "s1.r0#2/act0", or for what happens once a state."""
    state, _, rest = place.partition("#")
    if rest:
        return str(run.leaves.get(state)) == rest.partition("/")[0]
    return any(stage.kind == "once" and place in stage.names and stage.path in run.leaves for stage in shape.stages)


def _is_effect(place: str) -> bool:
    return place != shapes.KEPT and not place.startswith(shapes.CHILD)


def _broken_off(run: Seen) -> str:
    """The top-level state in which a run was cancelled, or "". One that was about to be tried again counts as there."""
    if not run.moves or run.moves[-1].trigger != "cancel":
        return ""
    sources = [_stage_of(move.source) for move in run.moves]
    return next((source for source in reversed(sources) if source != ERROR_HANDLING), "")


def _is_of(place: str, path: str, shape: Shape) -> bool:
    """Whether an effect's place is one of state `path`: "s1.r0#2/act0", or for what happens once in a run "act"."""
    kinds = {stage.path: stage.kind for stage in shape.stages}
    return _stage_of(place.partition("#")[0]) == path or ("#" not in place and kinds.get(path) == "once")


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

    for ticket in dict.fromkeys(line.run for line in evidence.lines if line.what == "cancelled"):
        seen = evidence.runs.get(ticket)
        if seen is not None and seen.status != "cancelled":
            yield f"run {ticket}: its cancel was acknowledged, and it is {seen.status} in {seen.outcome or seen.leaves}"


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
    pairs = set(zip(["", *paths], [*paths, "done"], strict=True))
    pairs |= {(path, "cancelled") for path in (*paths, ERROR_HANDLING)}
    for stage in shape.stages:
        if stage.kind == "approval":
            pairs |= {(stage.path, paths[0]), (stage.path, "rejected")}
        if stage.kind not in ("timer", "approval", "child"):
            pairs |= {(stage.path, ERROR_HANDLING), (ERROR_HANDLING, stage.path)}
    return pairs


def _stage_of(text: str) -> str:
    """The top-level state of a journal's "s1:r0|s1:r1"."""
    return text.partition("|")[0].partition(":")[0].partition(".")[0]


def twice_owned(evidence: Evidence) -> Iterable[str]:
    """An epoch of a run is one engine's."""
    owners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in evidence.lines:
        if line.what == "owns" and line.number:
            owners[line.run, line.number].add(line.key)
    for (run, epoch), found in owners.items():
        if len(found) > 1:
            yield f"run {run}: expected one owner in epoch {epoch}, saw {', '.join(sorted(found))}"


class _Resource:
    """One resource as the world saw it: who is inside, alone or beside others, with which token."""

    def __init__(self) -> None:
        self.alone: dict[str, int] = {}
        self.beside: dict[str, int] = {}
        self.highest_alone = 0
        self.highest = 0

    def enter(self, line: Line) -> list[str]:
        """Whom the one who comes in meets there. Who has a token that is too old is refused, and meets nobody."""
        is_alone = line.what == "in"
        if line.number < (self.highest if is_alone else self.highest_alone):
            return []
        met = [*self.alone, *(self.beside if is_alone else ())]
        (self.alone if is_alone else self.beside)[line.about] = line.number
        self.highest = max(self.highest, line.number)
        self.highest_alone = max(self.highest_alone, line.number if is_alone else 0)
        return [about for about in met if about != line.about]

    def leave(self, line: Line) -> None:
        """One who came in with that very token is gone."""
        inside = self.alone if line.what == "out" else self.beside
        if inside.get(line.about) == line.number:
            del inside[line.about]

    def forget(self, about: str) -> None:
        """One who was inside has lost it."""
        self.alone.pop(about, None)
        self.beside.pop(about, None)


def broken_locks(evidence: Evidence) -> Iterable[str]:
    """A token is one visit's, and who was inside when somebody came in whom it should have kept out had lost its run:
    the visit came in again, or was cancelled."""
    returns: Counter[tuple[str, str]] = Counter(
        (line.key, line.about) for line in evidence.lines if line.what in ("in", "shares")
    )
    cancelled = {run.ticket: _broken_off(run) for run in evidence.runs.values()}
    holders: dict[tuple[str, int], set[str]] = defaultdict(set)
    resources: dict[str, _Resource] = defaultdict(_Resource)
    for line in evidence.lines:
        resource = resources[line.key]
        if line.what in ("out", "leaves"):
            resource.leave(line)
        if line.what not in ("in", "shares"):
            continue
        returns[line.key, line.about] -= 1
        holders[line.key, line.number].add(line.about)
        for other in resource.enter(line):
            ticket, _, place = other.rpartition("/")
            if not returns[line.key, other] and place.partition("#")[0] != cancelled.get(ticket):
                yield f"resource {line.key}: {line.about} came in with token {line.number} while {other} was inside"
            resource.forget(other)
    for (name, token), abouts in holders.items():
        if len(abouts) > 1 or not token:
            yield f"resource {name}: token {token} was had by {', '.join(sorted(abouts))}"


def lost_children(evidence: Evidence) -> Iterable[str]:
    """Each visit of a state that waits for a child has started one, and took its data; no child is without a parent."""
    known = evidence.shapes
    by_parent: dict[str, list[Seen]] = defaultdict(list)
    for run in evidence.runs.values():
        if run.parent:
            by_parent[run.parent].append(run)
    for run in evidence.runs.values():
        children = by_parent.pop(run.id, [])
        fields = {
            stage.path: shapes.child_field(stage.path) for stage in known[run.workflow].stages if stage.kind == "child"
        }
        visits = [move.target for move in run.moves if move.target in fields and move.source != move.target]
        if len(children) != len(visits):
            yield f"run {run.ticket}: expected a child for each of {visits}, saw {len(children)}"
        for field in fields.values():
            if field in run.data and run.data[field] not in [
                child.data for child in children if child.outcome == "done"
            ]:
                yield f"run {run.ticket}: no child of it ended with what it has in {field}: {run.data[field]}"
    for parent, children in by_parent.items():
        yield f"runs {', '.join(child.ticket for child in children)}: their parent {parent} is not in the store"


def lost_ticks(evidence: Evidence) -> Iterable[str]:
    """From the first to the last each due time of the schedule has its run."""
    dues = sorted(
        datetime.fromisoformat(run.ticket.rpartition("@")[2]).timestamp()
        for run in evidence.runs.values()
        if run.workflow == shapes.TICK
    )
    for before, after in itertools.pairwise(dues):
        if after - before != shapes.TICK_S:
            gap = f"{after - before:g} s after {before:.0f}"
            yield f"schedule {shapes.TICK}: expected a run every {shapes.TICK_S} s, saw one {gap}"


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


def leaks(evidence: Evidence) -> Iterable[str]:
    """A process that lives long stays as it is."""
    return growth.leaks(evidence.samples, lasted_s=evidence.lasted_s)


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
    "lost children": lost_children,
    "lost ticks": lost_ticks,
    "unsound stores": unsound_stores,
    "bad endings": bad_endings,
    "leaks": leaks,
}


def audited(evidence: Evidence) -> dict[str, list[str]]:
    """What each audit found, of those that found something."""
    found = {name: list(audit(evidence)) for name, audit in AUDITS.items()}
    return {name: faults for name, faults in found.items() if faults}
