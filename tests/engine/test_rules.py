"""The engine's rules, pure: by example, and for random walks of occurrences that make sense and that do not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast import ErrorType, HoldfastError, Retry, Workflow, WorkflowError, codec
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions import rules
from holdfast.workflow.decisions.admission import Verdict, admit, expectation
from holdfast.workflow.decisions.begin import begin, first_data, forked
from holdfast.workflow.decisions.decision import Decision
from holdfast.workflow.decisions.due import due_now
from holdfast.workflow.decisions.failure import failure_of
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.run import STILL, Failure, Leaf, Run, Signal, Timer, decode_run, encode_run
from tests.engine.labs import nothing
from tests.engine.mazes import SIGNALS, maze

NOW = 1_000_000.0
MAZE = maze().build()


def started(built: Built, **data: Any) -> Run:
    """A run as it begins, its locks granted at once."""
    run = begin(
        built, run_id="r", ticket_id="T", tenant="main", user="ana", data=first_data(built, data),
        by="ana", labels={}, now=NOW,
    ).run  # fmt: skip
    return granted(built, run)


def granted(built: Built, run: Run) -> Run:
    """The run with every lock that it asks for."""
    for path, leaf in run.leaves.items():
        if leaf.phase == "locking":
            run = rules.decide(built, run, on.LockGranted(leaf=path, visit=leaf.visit, tokens=(1,)), now=NOW).run
    return run


def signal(name: str) -> on.Signalled:
    return on.Signalled(signal=Signal(id="s", name=name, by="ana"), agent="ana")


def finished(run: Run, leaf: str, *, outcome: str = "done", **data: Any) -> on.Finished:
    base = bytes(run.data)
    after = codec.encode(codec.decode(base) | data)
    return on.Finished(leaf=leaf, visit=run.leaves[leaf].visit, outcome=outcome, data=after, base=base)


# -- back-off ---------------------------------------------------------------------------------------------------


def test_back_off_is_2_seconds_and_doubles_to_its_cap() -> None:
    waits = [rules.backoff_s(Retry(), attempt, draw=0.0) for attempt in range(1, 11)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(
    first_s=st.floats(0, 100), cap_s=st.floats(100, 10_000), jitter=st.floats(0, 1), attempt=st.integers(1, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
)  # fmt: skip
def test_back_off_stays_between_its_first_wait_and_its_cap(
    first_s: float, cap_s: float, jitter: float, attempt: int, draw: float
) -> None:
    retry = Retry(first_s=first_s, cap_s=cap_s, jitter=jitter)
    wait = rules.backoff_s(retry, attempt, draw=draw)
    assert first_s <= wait <= cap_s
    assert rules.backoff_s(retry, 1, draw=draw) == first_s


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="expected at least 1, saw 0"):
        rules.backoff_s(Retry(), 0, draw=0.0)


# -- what is due ------------------------------------------------------------------------------------------------


def due_at(at: float, **fields: Any) -> Run:
    run = started(MAZE)
    return replace(run, timeout_at=None, leaves={"hall": Leaf(visit=1, phase="working", entered_at=at, **fields)})


def test_the_earliest_comes_first_and_a_timer_before_the_rest() -> None:
    run = replace(
        due_at(NOW, sla_at=NOW + 2, deadline_at=NOW + 1),
        timers=(Timer("hall", "/after/hall/0", 1, NOW + 2),),
        timeout_at=NOW + 3,
    )
    assert due_now(run, NOW) is None
    assert isinstance(due_now(run, NOW + 2), on.AttemptOverdue)
    later = replace(run, leaves={"hall": replace(run.leaves["hall"], deadline_at=None)})
    assert isinstance(due_now(later, NOW + 2), on.TimerDue)
    assert isinstance(due_now(replace(later, timers=()), NOW + 2), on.SlaBreached)
    bare = due_at(NOW)
    assert isinstance(due_now(replace(bare, timeout_at=NOW + 3), NOW + 3), on.RunOverdue)
    assert due_now(replace(bare, timeout_at=NOW + 3, escalated=True), NOW + 9) is None


@pytest.mark.parametrize("status", ["paused", "failed", "poisoned"])
def test_nothing_is_due_for_a_run_that_stands_still(status: str) -> None:
    run = replace(due_at(NOW, retry_at=NOW + 1), status=status)
    assert run.due is None


# -- merging data -----------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=6,
)
DATA = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


def merged(base: Any, theirs: Any, mine: Any) -> Any:
    run = replace(started(MAZE), data=msgspec.Raw(codec.encode(theirs)))
    event = on.Finished(leaf="hall", visit=1, outcome="done", data=codec.encode(mine), base=codec.encode(base))
    return codec.decode(rules.merge_data(run, event))


@given(base=DATA, mine=DATA, theirs=DATA)
def test_regions_that_touch_different_fields_both_keep_theirs(base: Any, mine: Any, theirs: Any) -> None:
    left = base | {f"mine-{name}": value for name, value in mine.items()}
    right = base | {f"theirs-{name}": value for name, value in theirs.items()}
    assert merged(base, right, left) == left | right


@given(base=DATA, mine=DATA)
def test_one_region_alone_is_taken_at_its_word(base: Any, mine: Any) -> None:
    assert merged(base, base, mine) == mine
    assert merged(base, mine, base) == mine
    assert merged(base, mine, mine) == mine


def outcome(base: Any, theirs: Any, mine: Any) -> Any:
    """What a merge gives, or the kind of its refusal and whether it names a place."""
    try:
        return merged(base, theirs, mine)
    except WorkflowError as clash:
        return clash.error_type, bool(clash.paths)


@given(base=DATA, mine=DATA, theirs=DATA)
def test_a_merge_is_the_same_from_both_sides_or_names_the_clash_from_both(base: Any, mine: Any, theirs: Any) -> None:
    one = outcome(base, theirs, mine)
    assert one == outcome(base, mine, theirs)
    assert isinstance(one, dict) or one == (ErrorType.PERMANENT, True)


def test_what_both_regions_did_is_done_once() -> None:
    assert merged({"a": 1, "l": []}, {"l": ["x", "y"]}, {"l": ["x"]}) == {"l": ["x", "y"]}


# -- what failures are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionError("x"), "transient"),
        (TimeoutError("x"), "timeout"),
        (OSError("x"), "resource"),
        (HoldfastError("x"), "unknown"),
        (KeyError("x"), "unknown"),
        (WorkflowError("x", error_type=ErrorType.EXTERNAL), "external"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_an_exception_is_of_a_kind(error: Exception, kind: str) -> None:
    assert failure_of(error).error_type == kind


def test_a_failure_can_always_be_stored() -> None:
    error = WorkflowError("nul \0 and more" * 1000, object=object(), nan=float("nan"), fine=[1])
    failure = failure_of(error)
    assert failure.facts["fine"] == [1]
    assert not {"object", "nan"} & set(failure.facts)
    assert len(codec.encode(failure)) < 3000


# -- signals ----------------------------------------------------------------------------------------------------


def test_a_signal_is_early_only_while_none_of_its_states_was_entered() -> None:
    run = started(MAZE)
    assert admit(MAZE, run, Signal(id="s", name="left", by="ana")).verdict is Verdict.EARLY
    at_doors = rules.decide(MAZE, run, finished(run, "hall"), now=NOW).run
    assert admit(MAZE, at_doors, Signal(id="s", name="left", by="ana")).verdict is Verdict.NOW
    away = rules.decide(MAZE, at_doors, signal("fail"), now=NOW).run
    refusal = admit(MAZE, away, Signal(id="s", name="left", by="ana"))
    assert refusal.verdict is Verdict.REFUSED
    assert "is in trap and does not take 'left' any more; doors, tower would" in refusal.reason


def test_a_handle_fills_in_what_it_read() -> None:
    run = started(MAZE)
    assert expectation(MAZE, run, "fail") == ("doors", 1, "")
    at_doors = rules.decide(MAZE, run, finished(run, "hall"), now=NOW).run
    assert expectation(MAZE, at_doors, "left") == ("doors", 1, "")
    assert expectation(MAZE, run, "unheard") == ("", 0, "")


# -- deaths -----------------------------------------------------------------------------------------------------


def test_deaths_without_progress_lead_to_suspicion_and_one_alone_sets_aside() -> None:
    run = started(MAZE)

    def die(run: Run, *, memos: int = 0, was_alone: bool = False) -> Decision:
        return rules.decide(MAZE, run, on.Died(memos=memos, was_alone=was_alone, deaths_max=3), now=NOW)

    first = die(run)
    assert (first.run.status, first.run.deaths, first.rows[0].name) == ("running", 1, "recovered")
    assert die(first.run, memos=1).run.deaths == 1, "a memo since is progress"
    second = die(first.run)
    assert (second.run.status, second.rows[0].name) == ("suspect", "suspected")
    assert die(second.run).run.status == "suspect", "in company nobody is to blame"
    third = die(second.run, was_alone=True)
    assert (third.run.status, third.rows[0].name, third.run.alert_level) == ("poisoned", "set-aside", 1)
    fresh = rules.decide(MAZE, third.run, on.Resumed(), now=NOW).run
    assert (fresh.status, fresh.deaths) == ("running", 0)


# -- all of it, at random ---------------------------------------------------------------------------------------

PATHS = ("hall", "doors", "rooms.red._run", "rooms.blue._run", "trap", "tower", "human", "nowhere")


@st.composite
def occurrence(draw: st.DrawFn, run: Run) -> on.Occurrence:
    """Something that may occur: mostly about the run as it stands, sometimes late, early, or about nothing."""
    path = draw(st.sampled_from((*run.leaves, *run.leaves, *run.leaves, *PATHS)))
    leaf = run.leaves.get(path)
    visit = leaf.visit if leaf is not None and draw(st.integers(0, 5)) else draw(st.integers(0, 3))
    failure = Failure(draw(st.sampled_from(["transient", "permanent", "unknown"])), "medium", "x", "Error")
    data = codec.encode(codec.decode(bytes(run.data)) | {draw(st.sampled_from("abc")): draw(st.integers(0, 3))})
    outcome = draw(st.sampled_from(["done", "done", "done", "odd"]))
    kinds: list[on.Occurrence] = [
        on.Finished(leaf=path, visit=visit, outcome=outcome, data=data, base=bytes(run.data)),
        on.Failed(leaf=path, visit=visit, failure=failure, draw=0.5),
        signal(draw(st.sampled_from((*SIGNALS, "odd")))),
        on.RetryDue(leaf=path, visit=visit),
        on.SlaBreached(leaf=path, visit=visit),
        on.LockGranted(leaf=path, visit=visit, tokens=(draw(st.integers(1, 9)),)),
        on.LockLost(leaf=path, visit=visit),
        on.Paused(agent="ops"),
        on.Resumed(agent="ops"),
        on.Died(memos=draw(st.integers(0, 1)), was_alone=draw(st.booleans()), deaths_max=3),
        on.Reported(failure=failure),
        on.Moved(version=1, states={}),
    ]
    if run.timers:
        kinds.append(on.TimerDue(timer=draw(st.sampled_from(run.timers))))
    kinds.append(on.TimerDue(timer=Timer("doors", "/after/doors/0", visit, NOW)))
    if leaf is not None and leaf.deadline_at is not None:
        kinds.append(on.AttemptOverdue(leaf=path, visit=visit))
    if run.leaves and not draw(st.integers(0, 4)):
        kinds = [on.RunOverdue(), on.Cancelled(agent="ops")]
    return draw(st.sampled_from(kinds))


@given(data=st.data())
@settings(max_examples=150)
def test_every_decision_is_pure_repeatable_and_leaves_a_run_that_makes_sense(data: st.DataObject) -> None:
    run, now = started(MAZE), NOW
    for _ in range(data.draw(st.integers(1, 25))):
        event = data.draw(occurrence(run))
        now += data.draw(st.sampled_from([0.0, 1.0, 5.0]))
        before = encode_run(run)
        try:
            decision = rules.decide(MAZE, run, event, now=now)
        except WorkflowError:
            decision = None
        assert encode_run(run) == before, "the input is as it was"
        if decision is None:
            assert isinstance(event, on.Finished), "only what a handler returned can make no sense"
            continue
        assert rules.decide(MAZE, decode_run(before), event, now=now) == decision, "stored and read, it has one future"
        if run.status in STILL and isinstance(event, on.OF_ITS_OWN):
            assert decision.reason, "who stands still is set going by somebody's word alone"
        _check(run, decision)
        run = decision.run


def _check(before: Run, decision: Decision) -> None:
    run = decision.run
    if decision.reason:
        assert decision == Decision(run=before, reason=decision.reason), "a refusal changes nothing"
        return
    assert decision.rows, "what was decided is told"
    assert set(run.leaves) == {path for path in run.configuration.leaves if path in MAZE.leaf_specs}
    assert decode_run(encode_run(run)) == run
    if run.is_ended:
        assert (run.leaves, run.timers, run.due) == ({}, (), None)
        return
    assert run.status in ("running", "waiting", "suspect", "paused", "failed", "poisoned")
    if run.status in ("running", "waiting"):
        assert (run.status == "running") == run.has_work
    for path, leaf in run.leaves.items():
        spec = MAZE.spec_of(path)
        assert leaf.visit == run.configuration.visits[path]
        if leaf.phase == "working":
            assert spec.kind == "work"
            assert (bool(leaf.locks) and leaf.is_granted) == (spec.lock is not None), "it works with its locks"
        if leaf.phase == "locking":
            assert leaf.locks
            assert not leaf.is_granted
    held = {path for path, leaf in before.leaves.items() if leaf.locks and leaf.is_granted}
    holds = {path for path, leaf in run.leaves.items() if leaf.locks and leaf.is_granted}
    given_back = {path for path, _ in decision.released}
    asked_anew = {path for path, leaf in run.leaves.items() if leaf.phase == "locking"}
    assert held <= holds | given_back | asked_anew, "no lock is lost sight of"


@given(data=st.data())
@settings(max_examples=50)
def test_a_fork_of_any_place_begins_like_an_entry(data: st.DataObject) -> None:
    run = started(MAZE)
    for _ in range(data.draw(st.integers(0, 12))):
        try:
            run = rules.decide(MAZE, run, data.draw(occurrence(run)), now=NOW).run
        except WorkflowError:
            continue
    if run.is_ended:
        return
    fork = forked(run, run_id="f", ticket_id="F", by="ana", now=NOW + 60, built=MAZE).run
    assert set(fork.leaves) == set(run.leaves)
    assert fork.status in ("running", "waiting")
    for leaf in fork.leaves.values():
        assert (leaf.attempts, leaf.entered_at, leaf.failure) == (0, NOW + 60, None)
        assert not leaf.locks or not leaf.is_granted, "a fork holds nothing that the original holds"


def test_an_ended_run_refuses_everything() -> None:
    workflow = Workflow("short")
    workflow.add_state("work", nothing, start=True, to="end")
    workflow.final("end")
    built = workflow.build()
    run = started(built)
    over = rules.decide(built, run, finished(run, "work"), now=NOW).run
    assert over.status == "done"
    for event in (finished(run, "work"), on.Cancelled(), on.Paused(), on.Resumed(), on.RunOverdue()):
        assert rules.decide(built, over, event, now=NOW) == Decision(run=over, reason="run r has ended in end")
