"""Taking a transition: what the chart's step means for a run's leaves, timers, locks, status and shown state. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from holdfast.chart import Step, shown, step
from holdfast.errors import ErrorSeverity, ErrorType, InvalidInput, WorkflowError
from holdfast.locks.rules import requests_of
from holdfast.workflow.decisions import occurrences as on
from holdfast.workflow.decisions.decision import Decision, Row, refused
from holdfast.workflow.model.build import Built
from holdfast.workflow.model.definition import StateSpec
from holdfast.workflow.model.run import HeldLock, Leaf, Run, Timer, spec_state, spec_text

ERROR_STATE = "error_handling"


def advance(
    built: Built,
    run: Run,
    event: str,
    now: float,
    *,
    trigger: str,
    agent: str,
    metadata: dict[str, Any] | None = None,
) -> Decision:
    """The decision of a chart event: refused with the chart's reason, or the run moved on."""
    taken = step(built.chart, run.configuration, event)
    if taken.outcome == "refused":
        return refused(run, taken.reason)
    return moved(built, run, taken, now, trigger=trigger, agent=agent, metadata=metadata)


def moved(
    built: Built,
    run: Run,
    taken: Step,
    now: float,
    *,
    trigger: str,
    agent: str,
    metadata: dict[str, Any] | None = None,
    origin: dict[str, str] | None = None,
) -> Decision:
    """The run after an accepted step. `origin` replaces the from-text of a leaf that is shown in error handling."""
    left = {path: leaf for path, leaf in run.leaves.items() if path in taken.exited}
    kept = {path: leaf for path, leaf in run.leaves.items() if path not in taken.exited}
    active = set(taken.configuration.leaves)  # what was entered and left again on the way is told by the rows alone
    entered = [path for path in dict.fromkeys(taken.entered) if path in active and path in built.leaf_specs]
    visits = taken.configuration.visits
    data = built.decode_data(run.data) if any(_wants_data(built.leaf_specs[path]) for path in entered) else None
    for path in entered:
        kept[path] = enter(built.leaf_specs[path], data, visits[path], now)
    order = {path: place for place, path in enumerate(taken.configuration.leaves)}
    leaves = dict(sorted(kept.items(), key=lambda item: order[item[0]]))
    dropped = {(state, name, visit) for state, name, visit in taken.timers_dropped}
    timers = tuple(timer for timer in run.timers if (timer.state, timer.event, timer.visit) not in dropped) + tuple(
        Timer(timer.state, timer.event, timer.visit, now + timer.after_s) for timer in taken.timers_set
    )
    after = replace(
        run,
        configuration=taken.configuration,
        leaves=leaves,
        timers=timers,
        deaths=0,
        memos_seen=0,
        status="running",
        retry_count=max((leaf.attempts for leaf in leaves.values()), default=0),
    )
    if taken.configuration.is_done:
        after = ended(after, taken.configuration.leaves[0])
    decision = decided(
        after,
        _rows(run, taken, trigger, agent, metadata or {}, origin or {}),
        stopped=tuple(left),
        entered=tuple(entered),
    )
    return replace(
        decision,
        left=tuple(left.items()),
        released=tuple((path, leaf) for path, leaf in left.items() if leaf.locks),
    )


def decided(
    run: Run,
    rows: tuple[Row, ...],
    *,
    stopped: tuple[str, ...] = (),
    entered: tuple[str, ...] = (),
    keep_status: bool = False,
) -> Decision:
    """A decision on `run`, its status and shown state brought in line with its leaves."""
    if not keep_status and not run.is_ended and not (run.status == "suspect" and run.has_work):
        run = replace(run, status="running" if run.has_work else "waiting")
    return Decision(run=with_shown(run), rows=rows, stopped=stopped, entered=entered)


def enter(spec: StateSpec, data: Any, visit: int, now: float) -> Leaf:
    """The leaf as it is entered. Raises WorkflowError where the state's `lock` or `about` does not work on the data."""
    sla_at = None if spec.sla_s is None else now + spec.sla_s
    locks = () if spec.lock is None else _locks(spec, data)
    leaf = Leaf(visit=visit, phase="waiting", entered_at=now, sla_at=sla_at, locks=locks)
    if spec.about is not None:
        leaf = replace(leaf, about=str(ask(spec, "about", spec.about, data)))
    if locks:
        return replace(leaf, phase="locking")
    return begin_attempt(spec, leaf, now)


def begin_attempt(spec: StateSpec, leaf: Leaf, now: float) -> Leaf:
    """The leaf with a new attempt of its handler under way, or asking for the places that it needs under limits, or
    waiting again where it has none."""
    if spec.kind != "work":
        return replace(leaf, phase="waiting", retry_at=None)
    anew = replace(leaf, retry_at=None, places=(), line="")
    return replace(anew, phase="asking", deadline_at=None) if spec.limits else start_attempt(spec, anew, now)


def start_attempt(spec: StateSpec, leaf: Leaf, now: float) -> Leaf:
    """The leaf with its handler at work, all that it needs being had."""
    deadline_at = None if spec.timeout_s is None else now + spec.timeout_s
    return replace(leaf, phase="working", deadline_at=deadline_at)


def fresh_attempt(spec: StateSpec, leaf: Leaf, now: float) -> Leaf:
    """The leaf resumed by hand: no failures counted, its lock to be asked for again."""
    clean = replace(leaf, attempts=0, failure=None, retry_at=None, parked=None)
    if spec.lock is not None and not leaf.locks:
        return clean if spec.kind == "wait" else begin_attempt(spec, clean, now)
    return ask_again(clean) if clean.locks else begin_attempt(spec, clean, now)


def ask_again(leaf: Leaf) -> Leaf:
    """The leaf with its locks given back and asked for again, if it has any."""
    if not leaf.locks:
        return leaf
    return replace(leaf.without_tokens(), phase="locking", deadline_at=None)


def granted(spec: StateSpec, leaf: Leaf, tokens: Sequence[int], now: float) -> tuple[Leaf, tuple[Row, ...]]:
    """The leaf with its locks held, its handler begun, and a row for each of them."""
    held = leaf.with_tokens(tokens)
    rows = tuple(
        Row(
            name="lock-granted",
            metadata={"lock": str(lock), "token": lock.token}
            | ({} if lock.mode == "exclusive" else {"mode": lock.mode}),
        )
        for lock in held.locks
    )
    return begin_attempt(spec, held, now), rows


def without_locks(run: Run) -> tuple[Run, tuple[tuple[str, Leaf], ...]]:
    """The run with every lock given back, to be asked for again when it goes on, and the leaves, as they were, that
    held or awaited one. A leaf in back-off stays there: it asks when that is over."""
    held = tuple((path, leaf) for path, leaf in run.leaves.items() if leaf.locks)
    without = {path: leaf.without_tokens() if leaf.phase == "failing" else ask_again(leaf) for path, leaf in held}
    return replace(run, leaves={**run.leaves, **without}), held


def with_released(decision: Decision, released: tuple[tuple[str, Leaf], ...]) -> Decision:
    """The decision, which gives back the locks of these leaves as well."""
    known = {path for path, _ in decision.released}
    return replace(decision, released=decision.released + tuple(pair for pair in released if pair[0] not in known))


def place_asked(built: Built, run: Run, event: on.PlaceAsked, now: float) -> Decision:
    """Ask for what the leaf's attempt needs; whether there is room the commit decides."""
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase not in ("asking", "queuing"):
        return refused(run, f"{shown(event.leaf)} #{event.visit} does not wait for a place")
    spec = built.spec_of(event.leaf)
    asking = replace(leaf, phase="asking") if spec.limits else begin_attempt(spec, leaf, now)
    return decided(replace(run, leaves={**run.leaves, event.leaf: asking}), (), entered=(event.leaf,))


def place_lost(built: Built, run: Run, event: on.PlaceLost, now: float) -> Decision:
    """End the attempt, and ask for what another one needs."""
    leaf = run.leaves.get(event.leaf)
    if leaf is None or leaf.visit != event.visit or leaf.phase != "working":
        return refused(run, f"{shown(event.leaf)} #{event.visit} is not working any more")
    again = begin_attempt(built.spec_of(event.leaf), leaf, now)
    after = replace(run, leaves={**run.leaves, event.leaf: again})
    return decided(after, (), stopped=(event.leaf,), entered=(event.leaf,))


def ended(run: Run, final: str) -> Run:
    """The run in a final state of the whole chart."""
    outcome = final
    status = "cancelled" if run.is_cancelled else "done"
    main, sub, detailed = spec_state(final)
    return replace(
        run, status=status, outcome=outcome, leaves={}, timers=(), main_state=main, sub_state=sub,
        detailed_state=detailed,
    )  # fmt: skip


def with_shown(run: Run) -> Run:
    """The run with the spec's three columns saying where its first leaf is; parallel leaves are joined with "|"."""
    if not run.leaves:
        return run
    first, *_ = run.leaves
    if run.leaves[first].phase == "failing":
        sub = "retry" if run.leaves[first].retry_at is not None else "escalation"
        return replace(run, main_state=ERROR_STATE, sub_state=sub, detailed_state="")
    main, sub, _ = spec_state(first)
    return replace(run, main_state=main, sub_state=sub, detailed_state=_joined(run.leaves, (main, sub)))


def _joined(paths: Any, parent: tuple[str, str]) -> str:
    states = [spec_state(path) for path in paths]
    return "|".join(dict.fromkeys(detailed for main, sub, detailed in states if (main, sub) == parent and detailed))


def _rows(
    run: Run, taken: Step, trigger: str, agent: str, metadata: dict[str, Any], origin: dict[str, str]
) -> tuple[Row, ...]:
    """One row per transition taken, eventless and done ones included, in the order in which they were taken."""
    rows = []
    for number, transition in enumerate(each for each in taken.taken if each.targets):
        inside = [path for path in run.leaves if _is_in(path, transition.source)] or [transition.source]
        arrived = [
            path for path in taken.entered if any(_is_in(path, target) for target in transition.targets)
        ]  # fmt: skip
        leaves = [path for path in arrived if not any(other.startswith(path + ".") for other in arrived)]
        rows.append(
            Row(
                from_state=origin.get(inside[0]) or _text(run, inside),
                to_state=_text(run, leaves or list(transition.targets), fresh=True),
                trigger=trigger if number == 0 else _trigger(transition.event, trigger),
                agent=agent,
                metadata=metadata if number == 0 else {},
            )
        )
    return tuple(rows)


def _trigger(event: str, trigger: str) -> str:
    if event.startswith("done.state."):
        return f"{shown(event.removeprefix('done.state.')).rsplit('.', 1)[-1]}.done"
    return trigger if event else "next"


def _text(run: Run, paths: list[str], *, fresh: bool = False) -> str:
    first = run.leaves.get(paths[0])
    if first is not None and first.phase == "failing" and not fresh:
        return f"{ERROR_STATE}:retry" if first.retry_at is not None else f"{ERROR_STATE}:escalation"
    return together([spec_text(path) for path in paths])


def together(texts: list[str]) -> str:
    """Several states in one text: what they share, then the rest joined with "|": "main:sub:one|other"."""
    parts = [text.split(":") for text in dict.fromkeys(texts)]
    shared = 0
    while len(parts) > 1 and all(len(part) > shared + 1 and part[shared] == parts[0][shared] for part in parts):
        shared += 1
    if len(parts) == 1:
        return ":".join(parts[0])
    return ":".join([*parts[0][:shared], "|".join(":".join(part[shared:]) for part in parts)])


def _is_in(path: str, state: str) -> bool:
    return path == state or path.startswith(state + ".")


def _wants_data(spec: StateSpec) -> bool:
    return spec.lock is not None or spec.about is not None


def _locks(spec: StateSpec, data: Any) -> tuple[HeldLock, ...]:
    assert spec.lock is not None
    try:
        requests = requests_of(ask(spec, "lock", spec.lock, data))
    except InvalidInput as error:
        raise WorkflowError(
            f"state {spec.path}: its lock= names none: {error}",
            error_type=ErrorType.PERMANENT,
            severity=ErrorSeverity.HIGH,
        ) from error
    return tuple(HeldLock(kind=each.kind, name=each.name, mode=each.mode) for each in requests)


def ask(spec: StateSpec, what: str, function: Any, data: Any) -> Any:
    """What a function of the workflow's gives for the data. Raises WorkflowError for what it raises."""
    try:
        return function(data)
    except Exception as error:
        raise WorkflowError(
            f"state {spec.path}: its {what}= raised {type(error).__name__}: {error}",
            error_type=ErrorType.PERMANENT,
            severity=ErrorSeverity.HIGH,
        ) from error
