"""A run as it is stored: one JSON record that says everything needed to go on, and nothing else.

Frozen; rules make a new one. Times are epoch seconds on the store's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.chart import Configuration, shown
from holdfast.errors import Corrupt, InvalidInput
from holdfast.locks.rules import LockRequest, Mode
from holdfast.store.contract.records import Key
from holdfast.store.rows.blobs import BlobRef
from holdfast.store.wrapping.seal import check_opened
from holdfast.workflow.model.fairness import NORMAL, Priority

RUN = "run"
MEMO = "memo"
SIGNAL = "signal"
TICKET = "ticket"
PROCESS = "process"
NOTICE = "notice"
CHART = "chart"
FORKS = "forks"
LINE = "line"
PARENT = "parent"
"""The label of a child run that names the run which started it."""
PARKED = "parked"
"""The label of a parked run that names the dependency which it waits for."""

ACTIVE = ("running", "waiting", "suspect", "paused", "failed", "poisoned")
"""Statuses of a run that has not ended."""
ENDED = ("done", "cancelled")
RUNNABLE = ("running", "waiting")
WORKABLE = ("running", "suspect")
"""Statuses of a run that somebody is to work on now: it is owned, or stands in line."""
STILL = ("paused", "failed", "poisoned")
"""Statuses of a run that stands still until somebody does something about it."""


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, as facts."""

    error_type: str
    severity: str
    message: str
    kind: str
    facts: dict[str, Any] = {}


class HeldLock(msgspec.Struct, frozen=True, omit_defaults=True):
    """A lock that belongs to one visit of one leaf. `token` is 0 while it is only asked for."""

    kind: str
    name: str
    token: int = 0
    mode: Mode = "exclusive"

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


class Relative(msgspec.Struct, frozen=True, omit_defaults=True):
    """Another run that this one belongs together with: its parent, or the child that a leaf waits for. Both are the
    same user's. `depth`: how many runs stand above the relative."""

    id: str
    queue: str
    depth: int = 0


class Parking(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a parked leaf waits for: `on` is the dependency to blame, since when (epoch seconds), and why."""

    on: str
    since: float
    reason: str = ""


class Leaf(msgspec.Struct, frozen=True, omit_defaults=True):
    """One active leaf. `phase`: working, waiting (for signals or time), locking (for its lock), asking (for places
    under its limits), queuing (in line for one), failing (back-off), parked (until what it needs is well; at `retry_at`
    somebody looks anyway).
    `born`: the path under which its visit began, where newer code renamed it since. `child`: the run
    that it waits for, until that has ended. `places`: the limits under which its attempt has a place; `line`: where it
    stands in line for another."""

    visit: int
    phase: str
    entered_at: float
    attempts: int = 0
    retry_at: float | None = None
    deadline_at: float | None = None
    sla_at: float | None = None
    about: str = ""
    failure: Failure | None = None
    locks: tuple[HeldLock, ...] = ()
    born: str = ""
    child: Relative | None = None
    parked: Parking | None = None
    places: tuple[str, ...] = ()
    line: str = ""

    @property
    def lock_requests(self) -> tuple[LockRequest, ...]:
        """What its locks are asked for by."""
        return tuple(LockRequest(lock.kind, lock.name, lock.mode) for lock in self.locks)

    @property
    def is_granted(self) -> bool:
        """Whether it has all the locks that its state declares."""
        return all(lock.token for lock in self.locks)

    def with_tokens(self, tokens: Sequence[int]) -> Leaf:
        """The leaf with a token for each of its locks; 0 for what is only asked for."""
        pairs = zip(self.locks, tokens, strict=True)
        return replace(self, locks=tuple(replace(lock, token=token) for lock, token in pairs))

    def without_tokens(self) -> Leaf:
        """The leaf with its locks given back, to be asked for again."""
        return self.with_tokens([0] * len(self.locks))

    def visit_name(self, path: str) -> str:
        """What its visit is called outside the chart: in memos, idempotency keys and locks. It outlasts renamings of
        `path`, where the leaf stands now: what a visit did under its old name is done."""
        return f"{self.born or path}#{self.visit}"


class Timer(msgspec.Struct, frozen=True):
    """A timer that runs: set in that visit of that state."""

    state: str
    event: str
    visit: int
    due: float


class Run(msgspec.Struct, frozen=True):
    """One run of a workflow. `data` is the workflow's own data, `input` what it was started with, both JSON. `blobs`:
    what stands for the input ("input") or the last signal's data ("signal") where these are kept in chunks."""

    id: str
    workflow: str
    version: int
    ticket_id: str
    tenant: str
    user: str
    status: str
    main_state: str
    sub_state: str
    detailed_state: str
    configuration: Configuration
    leaves: dict[str, Leaf]
    timers: tuple[Timer, ...]
    data: msgspec.Raw
    input: msgspec.Raw
    created_at: float
    max_retries: int
    retry_count: int = 0
    timeout_at: float | None = None
    escalated: bool = False
    alert_level: int = 0
    outcome: str = ""
    started_by: str = ""
    reason: str = ""
    deaths: int = 0
    memos_seen: int = 0
    forked_from: str = ""
    labels: dict[str, str] = {}
    is_cancelled: bool = False
    signal: dict[str, Any] | None = None
    blobs: dict[str, BlobRef] = {}
    parent: Relative | None = None
    priority: Priority = NORMAL

    @property
    def key(self) -> Key:
        return Key(self.tenant, self.user, RUN, self.id)

    @property
    def queue(self) -> str:
        """What a process must know to claim this run."""
        return queue_of(self.workflow, self.version)

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED

    @property
    def due(self) -> float | None:
        """The earliest moment at which something is to happen without anybody's doing, or None."""
        if self.status not in (*RUNNABLE, "suspect"):
            return None
        times = [timer.due for timer in self.timers]
        for leaf in self.leaves.values():
            times.extend(at for at in (leaf.retry_at, leaf.deadline_at, leaf.sla_at) if at is not None)
        if self.timeout_at is not None and not self.escalated:
            times.append(self.timeout_at)
        return min(times, default=None)

    @property
    def has_work(self) -> bool:
        """Whether a handler should be running, or a lock be granted, for some leaf now. Who stands in line for a place
        has none, but for a suspect: it is nobody's to take up beside others."""
        phases = ("working", "locking", "asking", *(["queuing"] if self.status == "suspect" else []))
        return any(leaf.phase in phases for leaf in self.leaves.values())

    @property
    def parked_on(self) -> str | None:
        """The dependency that it waits for, None where no leaf is parked; the first of several."""
        return next((leaf.parked.on for leaf in self.leaves.values() if leaf.parked is not None), None)

    @property
    def is_failing(self) -> bool:
        return any(leaf.phase == "failing" for leaf in self.leaves.values())

    def record_labels(self) -> dict[str, str]:
        """The indexed labels of the run's record."""
        return {
            **self.labels,
            "ticket": self.ticket_id,
            "workflow": self.workflow,
            "main_state": self.main_state,
            **({} if self.parent is None else {PARENT: self.parent.id}),
            **({} if (on := self.parked_on) is None else {PARKED: on}),
            **chart_label(self.configuration.chart_hash),
        }


def chart_label(chart_hash: str) -> dict[str, str]:
    """The label that tells which chart a run is in."""
    return {"chart": chart_hash[:16]}


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """A message for a run. `state` and `visit` name the wait it is meant for; `about` what was judged (a hash).
    `blob` stands for data that are kept in chunks."""

    id: str
    name: str
    by: str
    state: str = ""
    visit: int = 0
    about: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")
    blob: BlobRef | None = None
    sent_at: float = 0.0
    answer: str = ""


_run_decoder = msgspec.json.Decoder(Run)
_signal_decoder = msgspec.json.Decoder(Signal)
_encoder = msgspec.json.Encoder()


def encode_run(run: Run) -> bytes:
    """The stored form of a run. Raises InvalidInput when it is larger than one payload may be."""
    body = _encoder.encode(run)
    if len(body) > codec.PAYLOAD_BYTES_MAX:
        raise InvalidInput(
            f"run {run.id}: expected at most {codec.PAYLOAD_BYTES_MAX} bytes of state, saw {len(body)}; "
            "keep big things by ctx.put_blob and the reference in the data"
        )
    return body


def decode_run(body: bytes) -> Run:
    """The run in a stored body. Raises Corrupt where it is none, CannotOpen where it is sealed."""
    try:
        return _run_decoder.decode(body)
    except msgspec.MsgspecError as error:
        check_opened(body, "run")
        raise Corrupt(f"run: expected the stored form of a run, saw something else: {error}") from error


def decode_signal(body: bytes) -> Signal:
    """The signal in a stored body. Raises Corrupt where it is none, CannotOpen where it is sealed."""
    try:
        return _signal_decoder.decode(body)
    except msgspec.MsgspecError as error:
        check_opened(body, "signal")
        raise Corrupt(f"signal: expected the stored form of a signal, saw something else: {error}") from error


def last_part(text: str) -> str:
    """`text` as the last part of an id: ended, so that no such id is the beginning of another and one of them can be
    removed by prefix. Nothing that names a run or a signal has a newline in it."""
    return f"{text}\n"


def ticket_key(run: Run) -> Key:
    """The key of the record that says which run has the user's own id."""
    return Key(run.tenant, run.user, TICKET, f"{run.workflow}/{last_part(run.ticket_id)}")


def queue_of(workflow: str, version: int) -> str:
    """The queue of the runs of one version of a workflow: "name@2"."""
    return f"{workflow}@{version}"


def visit_prefix(run_id: str, path: str, leaf: Leaf) -> str:
    """What the ids of all memos of the leaf's visit start with."""
    return f"{run_id}/{leaf.visit_name(path)}/"


def spec_state(path: str) -> tuple[str, str, str]:
    """The main, sub and detailed state of a path: its first, second and further shown segments."""
    main, sub, *detailed = [*shown(path).split("."), "", ""]
    return main, sub, ".".join(part for part in detailed if part)


def where_of(run: Run) -> str:
    """Where a run is, in words: its active states, or the final one."""
    return ", ".join(spec_text(path) for path in run.leaves) or run.outcome


def ended_text(run: Run, signal: str) -> str:
    """Why a run that has ended takes no signal."""
    return f"run {run.id} has ended in {run.outcome}; it takes no {signal!r}"


def spec_text(path: str) -> str:
    """ "main:sub:detailed" of a path, as far as it goes."""
    return ":".join(part for part in spec_state(path) if part)
