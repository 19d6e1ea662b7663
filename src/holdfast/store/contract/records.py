"""What survives: records, changes, events. Plain frozen values; every back end and every room speaks them.

A record is a small JSON document with a version and a few indexed fields. A change writes several records and events
or none of them. Bodies are UTF-8 JSON bytes, already encoded and bounded by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from holdfast import codec
from holdfast.errors import InvalidInput

SYSTEM_TENANT = ""
SHARED = ""
ABSENT = 0
"""`expect=ABSENT`: the record must not exist (a deleted one does not)."""


class Key(NamedTuple):
    """Names one record. `user` is SHARED ("") for what belongs to the tenant; the system's own have tenant ""."""

    tenant: str
    user: str
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Scope(NamedTuple):
    """What a call may see and touch: one user (and what his tenant shares), one tenant, or everything (the system)."""

    tenant: str | None
    user: str | None

    @classmethod
    def of_user(cls, tenant: str, user: str) -> Scope:
        return cls(tenant, user)

    @classmethod
    def of_tenant(cls, tenant: str) -> Scope:
        return cls(tenant, None)

    @classmethod
    def system(cls) -> Scope:
        return cls(None, None)

    def covers(self, key: Key) -> bool:
        """Whether a record of this key is inside."""
        if self.tenant is None:
            return True
        return key.tenant == self.tenant and (self.user is None or key.user in (self.user, SHARED))


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One stored record. Times are epoch seconds on the store's clock.

    `version` counts writes of this key from 1 and goes on after a delete. `owner`/`epoch` say who may work on it:
    each claim raises `epoch`. `chain` is the digest of the record's last event; `digest` covers everything above.
    """

    key: Key
    version: int
    body: bytes
    status: str = ""
    due: float | None = None
    queue: str = ""
    owner: str = ""
    epoch: int = 0
    labels: Mapping[str, str] = {}
    change_id: str = ""
    written_at: float = 0.0
    chain: str = ""
    digest: str = ""

    def __repr__(self) -> str:
        return f"Record({self.key.kind}/{self.key.id} v{self.version} {self.status} owner={self.owner!r} e{self.epoch})"


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Write a record. `expect`: the version that must be there now, ABSENT (0), or None for whatever is there.

    `epoch` guards: the record's epoch must be this. `owner`: None keeps, "" releases, a name takes; `raise_epoch`
    adds one to the epoch in the same write (that is a claim). The new version is the old one plus `folded`: how many
    updates this one write stands for. Of more than one each has an event in the change, with a version of its own.
    """

    key: Key
    body: bytes
    expect: int | None
    epoch: int | None = None
    status: str = ""
    due: float | None = None
    queue: str = ""
    labels: Mapping[str, str] = {}
    owner: str | None = None
    raise_epoch: bool = False
    folded: int = 1


class Delete(msgspec.Struct, frozen=True, kw_only=True):
    """Remove a record, leaving its version and epoch behind so that a later creation continues them.

    It counts as a write: the record made again after a delete at version 3 has version 5.
    """

    key: Key
    expect: int | None
    epoch: int | None = None


class Require(msgspec.Struct, frozen=True, kw_only=True):
    """A record that must be as said when the change commits, checked and share-locked but not written.

    `version`: exact (ABSENT for none), or None for any; `epoch`: exact, or None for any.
    """

    key: Key
    version: int | None = None
    epoch: int | None = None


class RemovePrefix(msgspec.Struct, frozen=True, kw_only=True):
    """Remove every record of one tenant, user and kind whose id starts with `prefix` (not empty), leaving nothing.

    For records that are written once and never again under the same id, such as the memos of a visit.
    """

    tenant: str
    user: str
    kind: str
    prefix: str


class NewEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A row for the journal of record `key` and the stream of its user.

    `body`: the audit facts (JSON). `delta`: how the record's body changed (JSON patch or snapshot), or empty.
    """

    key: Key
    name: str
    body: bytes
    delta: bytes = b""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that commits together or not at all. Never crosses tenants.

    `change_id` is unique for ever; it finds the outcome of a commit whose answer was lost.
    """

    change_id: str
    writes: tuple[Put | Delete, ...] = ()
    requires: tuple[Require, ...] = ()
    removes: tuple[RemovePrefix, ...] = ()
    events: tuple[NewEvent, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """The keys written, in the order of `writes`."""
        return tuple(write.key for write in self.writes)


class Position(NamedTuple):
    """A place in one user's stream. A new incarnation means that history before it is gone."""

    incarnation: int
    seq: int

    def __str__(self) -> str:
        return f"{self.incarnation}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position in "incarnation:seq". Raises InvalidInput."""
        left, _, right = text.partition(":")
        if not (left.isdigit() and right.isdigit()):
            raise InvalidInput(f'position: expected "incarnation:seq" such as "1:42", saw {text!r}', seen=text)
        return cls(int(left), int(right))


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a commit: the store's time, the new version and epoch of each write in order (0 after a delete),
    and the position of the last event (None without events)."""

    change_id: str
    at: float
    versions: tuple[int, ...]
    epochs: tuple[int, ...] = ()
    position: Position | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One committed journal row. `version` is that of the record after the change; `digest` is checksum and chain
    link in one: it covers this row and the digest of the record's event before it."""

    key: Key
    position: Position
    version: int
    name: str
    body: bytes
    delta: bytes = b""
    change_id: str
    at: float
    previous: str = ""
    digest: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a scan; `next` resumes behind it, None at the end."""

    records: tuple[Record, ...]
    next: str | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a scan looks for; absent fields do not filter. `labels` must all be equal.

    Order: by id; or, with `by_due`, by due and then id, and only the records that have a due.
    """

    kind: str
    prefix: str = ""
    statuses: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    owner: str | None = None
    due_until: float | None = None
    labels: Mapping[str, str] = {}
    by_due: bool = False


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Take up to `limit` records for `owner`: those owned by one of `from_owners` ("" = nobody).

    Only of `queues` and `statuses`; with `due_until`, only those due by then; with `ids`, only these. Each one taken
    gets `owner` and an epoch one higher; its version stays. Earliest due first, then oldest. With `owner=""` it gives
    back what `from_owners` had: nobody owns it then, and what they still try to write is refused. `due_after`: what
    each one is due at from then on, its place among what waits to be claimed; None leaves it as it is.
    """

    kind: str
    owner: str
    from_owners: tuple[str, ...]
    queues: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    due_until: float | None = None
    ids: tuple[str, ...] = ()
    due_after: float | None = None
    limit: int = 100


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What `verify` found: where, what was expected, what was seen."""

    where: str
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"{self.where}: expected {self.expected}, saw {self.seen}"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """The result of `verify`: what was counted and every problem found."""

    records: int
    events: int
    problems: tuple[Problem, ...]

    @property
    def is_clean(self) -> bool:
        return not self.problems


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a back end can do; tests and the engine look here, never at its name.

    `durable`: an acknowledged commit survives the process and the machine; `durability` says in words what it survives.
    `many_processes`: several may share it.
    `lock_folder`: where processes of this host prove with a file lock that they live; None if they cannot.
    `payload_bytes_max`: the largest body that it takes; `is_sealed`: a codec stands before what lies in it.
    `is_partial`: it answers from what this process knows alone, so that there is no such record may only mean that
    others wrote it. It may change while the store is open.
    """

    durable: bool
    durability: str
    many_processes: bool
    lock_folder: str | None = None
    location: str = ""
    payload_bytes_max: int = codec.PAYLOAD_BYTES_MAX
    is_sealed: bool = False
    is_partial: bool = False
