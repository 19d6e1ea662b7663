"""Whether a signal may be taken now, must wait, or is refused: pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from holdfast import codec
from holdfast.chart import shown
from holdfast.workflow.decisions.family import CHILD_ENDED, PARENT_LEFT, ChildEnd, leaf_waiting_for
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import RUNNABLE, Run, Signal, ended_text, where_of


class Verdict(enum.Enum):
    """`NOW`: an active state takes it. `EARLY`: keep it, its state is yet to come. `REFUSED`: it came too late, or
    means another round or another thing."""

    NOW = "now"
    EARLY = "early"
    REFUSED = "refused"


class Admission(NamedTuple):
    verdict: Verdict
    reason: str = ""


class Expectation(NamedTuple):
    """What a signal sent now would be about: the state that takes it, its visit, and what it judges."""

    state: str
    visit: int
    about: str


def admit(built: Built, run: Run, signal: Signal) -> Admission:
    """The verdict for `signal` on the run as it stands."""
    if signal.name in (CHILD_ENDED, PARENT_LEFT):
        return _admit_word(run, signal)
    acceptors = built.acceptors.get(signal.name)
    if not acceptors:
        known = ", ".join(sorted(built.acceptors)) or "none"
        return _refuse(f"workflow {run.workflow} knows no signal {signal.name!r}; it knows: {known}")
    where = where_of(run)
    if run.is_ended:
        return _refuse(ended_text(run, signal.name))
    if signal.state and signal.state not in acceptors:
        return _refuse(f"state {signal.state} does not take {signal.name!r}; {', '.join(acceptors)} does")
    wanted = (signal.state,) if signal.state else acceptors
    visits = visits_of(built, run)
    active = next((path for path in wanted if is_active(built, run, path)), None)
    if active is None:
        if all(visits.get(path, 0) < max(signal.visit, 1) for path in wanted) and not any(
            visits.get(path, 0) for path in acceptors
        ):
            return Admission(Verdict.EARLY)
        return _refuse(
            f"run {run.id} is in {where} and does not take {signal.name!r} any more; "
            f"{', '.join(shown(path) for path in acceptors)} would"
        )
    if signal.visit and signal.visit != visits[active]:
        return _refuse(
            f"{signal.name!r} was meant for visit {signal.visit} of {shown(active)}, but the run is in visit "
            f"{visits[active]} ({where}); look again and decide anew"
        )
    about = about_of(built, run, active)
    if about and signal.about != about:
        return _refuse(
            f"{signal.name!r} is about {signal.about or 'nothing in particular'}, but {shown(active)} waits for a "
            f"judgement of {about}; look again and decide anew"
        )
    if run.status == "paused":
        return Admission(Verdict.EARLY, "the run is paused")
    if run.status not in ("running", "waiting"):
        return _refuse(f"run {run.id} is {run.status} in {where}; resume it first")
    return Admission(Verdict.NOW)


def _admit_word(run: Run, signal: Signal) -> Admission:
    """The verdict for a relative's word. A child's end waits for a parent that stands still; a parent's leave-taking
    reaches a child wherever it is."""
    if run.is_ended:
        return _refuse(f"run {run.id} has ended in {run.outcome}")
    if signal.name == PARENT_LEFT:
        return Admission(Verdict.NOW)
    if leaf_waiting_for(run, codec.decode(signal.data, ChildEnd).child) is None:
        return _refuse(f"run {run.id} is in {where_of(run)} and waits for this child no more")
    return Admission(Verdict.NOW if run.status in RUNNABLE else Verdict.EARLY)


def reads_inbox(built: Built, run: Run) -> bool:
    """Whether anything can lie in the run's inbox: somebody's signal, or a relative's word."""
    return bool(built.acceptors) or built.has_children or run.parent is not None


def calls_for_owner(built: Built, run: Run, signal: Signal) -> bool:
    """Whether somebody must own the run, which nobody does, to judge the signal. A run that stands still is moved by
    its parent's leave-taking alone."""
    if run.status != "waiting":
        return signal.name == PARENT_LEFT
    return admit(built, run, signal).verdict is not Verdict.EARLY


def expectation(built: Built, run: Run, name: str) -> Expectation:
    """What `name` would mean on the run as read: what a handle fills in before it sends."""
    acceptors = built.acceptors.get(name, ())
    visits = visits_of(built, run)
    for path in acceptors:
        if is_active(built, run, path):
            return Expectation(path, visits[path], about_of(built, run, path))
    if len(acceptors) == 1:
        return Expectation(acceptors[0], max(1, visits.get(acceptors[0], 0)), "")
    return Expectation("", 0, "")


def visits_of(built: Built, run: Run) -> dict[str, int]:
    """The visit number of each declared state that was ever entered."""
    visits = dict(run.configuration.visits)
    for leaf, spec in built.leaf_specs.items():
        if leaf in visits:
            visits[spec.path] = visits[leaf]
    return visits


def is_active(built: Built, run: Run, path: str) -> bool:
    """Whether the declared state is active."""
    leaf = built.leaf_of(path)
    return any(other == leaf or other.startswith(path + ".") for other in run.leaves)


def about_of(built: Built, run: Run, path: str) -> str:
    """What the active state's signals are about, or ""."""
    leaf = run.leaves.get(built.leaf_of(path))
    return leaf.about if leaf is not None else ""


def _refuse(reason: str) -> Admission:
    return Admission(Verdict.REFUSED, reason)
