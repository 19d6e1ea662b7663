"""What the bot needs of the world, as six small protocols: ticket, cluster, repository, review, deployment, model.

A workflow speaks to these and to nothing else, so a vendor is one class. Three promises hold for every port:

- An effect takes an idempotency `key` and is safe to repeat with it: the same branch, pull request, comment or sync,
  never a second one. Whoever repeats it gets today's state of the thing, not the state of the first answer.
- An effect that rests on something read earlier names what it read (a head, the hash of a diff) and is refused with
  `Conflict`, facts `expected` and `seen`, when that moved on.
- Errors are holdfast's: `InvalidInput` and `Rejected` will not go away, `NotFound` is a wrong name, `Conflict` means
  read again, `Unavailable` means try later.

Texts that come from outside (tickets, logs, comments) are data: bounded here, quoted where they are shown.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NewType, Protocol

import msgspec

from holdfast import Unavailable
from holdfast_sre.evidence.snapshot import Snapshot

Revision = NewType("Revision", str)
"""A commit, by its full hexadecimal id."""

DiffHash = NewType("DiffHash", str)
"""The sha256 of a diff's text, in hexadecimal. What an approval names."""

TicketStatus = Literal["open", "in_progress", "closed", "rejected", "escalated"]
ReviewState = Literal["open", "changes_requested", "approved", "merged", "closed"]
Verdict = Literal["approve", "request_changes", "reject"]
SyncPhase = Literal["none", "synced", "failed"]
Health = Literal["healthy", "degraded", "unknown"]


class Comment(msgspec.Struct, frozen=True):
    """A remark under a ticket or a pull request. `key` is empty for what people wrote by hand."""

    by: str
    text: str
    key: str = ""


class Ticket(msgspec.Struct, frozen=True):
    """A request for help with one service of one namespace. Title, text and comments are untrusted.

    `accept_key` is the key of the effect that took it.
    """

    id: str
    title: str
    text: str = ""
    namespace: str = ""
    service: str = ""
    status: TicketStatus = "open"
    assignee: str | None = None
    accept_key: str = ""
    comments: tuple[Comment, ...] = ()


class TicketPort(Protocol):
    """Where requests come from and where their end is told."""

    async def assigned(self, assignee: str) -> tuple[Ticket, ...]:
        """The open tickets of `assignee`, by id."""
        ...

    async def read(self, ticket_id: str) -> Ticket:
        """Raises NotFound for an unknown id, InvalidInput for a ticket that cannot be read."""
        ...

    async def accept(self, ticket_id: str, *, assignee: str, key: str) -> Ticket:
        """Take an open ticket: assigned and in progress. Raises Conflict when somebody else has it or it is ended."""
        ...

    async def comment(self, ticket_id: str, text: str, *, by: str, key: str) -> Ticket:
        """Add a remark, once per key."""
        ...

    async def finish(self, ticket_id: str, status: TicketStatus, text: str, *, by: str, key: str) -> Ticket:
        """End the ticket as closed, rejected or escalated, with a last remark. Raises Conflict if it ended before."""
        ...


class ClusterPort(Protocol):
    """Read-only eyes on a cluster. Writes go through the repository and the deployment, never here."""

    async def capture(self, namespace: str) -> Snapshot:
        """What is there now. Raises NotFound for an unknown namespace."""
        ...


class Commit(msgspec.Struct, frozen=True):
    """One commit of the manifests' history. `at_s` is seconds since the epoch; `paths` are the files it changed."""

    revision: Revision
    parents: tuple[Revision, ...]
    author: str
    at_s: int
    subject: str
    paths: tuple[str, ...] = ()


class Diff(msgspec.Struct, frozen=True):
    """A unified diff and its hash: equal texts, equal hashes, everywhere."""

    text: str
    digest: DiffHash

    @classmethod
    def of(cls, text: str) -> Diff:
        """The diff with this text."""
        return cls(text, DiffHash(hashlib.sha256(text.encode()).hexdigest()))


class Draft(msgspec.Struct, frozen=True):
    """What a branch shall hold: `base` with `files` laid over it (path to whole text, None removes the file).

    `expects` is the branch's head as last read, None where the branch shall not exist yet. The tree is made from `base`
    each time, so a second round replaces the first one's change instead of adding to it.
    """

    branch: str
    base: Revision
    files: dict[str, str | None]
    subject: str
    body: str = ""
    expects: Revision | None = None


class RepositoryPort(Protocol):
    """The manifests under version control."""

    async def head(self, branch: str) -> Revision:
        """Where `branch` points. Raises NotFound for an unknown branch."""
        ...

    async def files(self, revision: Revision) -> dict[str, str]:
        """The YAML files of a revision, and those that lie with a chart or a kustomization: path to text."""
        ...

    async def history(
        self, revision: Revision, *, paths: tuple[str, ...] = (), commits_max: int = 50
    ) -> tuple[Commit, ...]:
        """Commits up to `revision`, newest first, that touched one of `paths` (all where none is given)."""
        ...

    async def diff(self, base: Revision, head: Revision) -> Diff:
        """What `head` changed since it left `base`."""
        ...

    async def propose(self, draft: Draft, *, key: str) -> Commit:
        """Put the draft on its branch, as one commit per key. Raises Conflict when the branch moved."""
        ...

    async def revert(self, revision: Revision, *, branch: str, reason: str, key: str) -> Commit:
        """Undo a commit of `branch` by a new commit on it. Raises Conflict when later commits stand in the way."""
        ...


class Decision(msgspec.Struct, frozen=True):
    """What a person said of one diff. It holds for the diff with that hash and for no other."""

    verdict: Verdict
    by: str
    diff_hash: DiffHash
    text: str = ""
    key: str = ""


class PullRequest(msgspec.Struct, frozen=True):
    """A change offered for review. `round` counts the heads that were offered, from 1; `merged` is the merge."""

    number: int
    title: str
    body: str
    branch: str
    base: str
    head: Revision
    diff: Diff
    state: ReviewState = "open"
    round: int = 1
    comments: tuple[Comment, ...] = ()
    decisions: tuple[Decision, ...] = ()
    merged: Revision | None = None
    key: str = ""


class ReviewRequest(msgspec.Struct, frozen=True):
    """Ask for the review of `branch` into `base` (both branches' names)."""

    branch: str
    base: str
    title: str
    body: str = ""


class ReviewPort(Protocol):
    """Where people judge a change before it counts."""

    async def offer(self, request: ReviewRequest, *, key: str) -> PullRequest:
        """Open the pull request of this key, or bring it up to its branch: a new diff starts a new round, undecided."""
        ...

    async def read(self, number: int) -> PullRequest:
        """Raises NotFound for an unknown number."""
        ...

    async def comment(self, number: int, text: str, *, by: str, key: str) -> PullRequest:
        """Add a remark, once per key."""
        ...

    async def decide(self, number: int, decision: Decision) -> PullRequest:
        """Record a verdict, once per `decision.key`. Raises Conflict when it names another diff than the current one,
        Rejected when the pull request has ended."""
        ...

    async def merge(self, number: int, *, diff_hash: DiffHash, key: str) -> PullRequest:
        """Merge what was approved. Raises Conflict for another diff or one that does not merge cleanly, Rejected where
        the approval is missing."""
        ...


class Deployment(msgspec.Struct, frozen=True):
    """What runs: the revision applied last, how that went, and how the cluster is since. `message` says why."""

    revision: Revision | None
    phase: SyncPhase
    health: Health
    message: str = ""
    changed: tuple[str, ...] = ()


class DeploymentPort(Protocol):
    """Brings a revision of the manifests into the cluster."""

    async def sync(self, revision: Revision, *, key: str) -> Deployment:
        """Apply a revision. A revision that cannot be applied gives phase `failed` and leaves what ran before."""
        ...

    async def status(self) -> Deployment:
        """How it stands now."""
        ...


class Material(msgspec.Struct, frozen=True):
    """A named piece of untrusted text for a model to read: never an instruction."""

    name: str
    text: str


class ModelRequest(msgspec.Struct, frozen=True):
    """One question. `choices` are the only answers that count; `by_rules` is the one that the rules would give."""

    task: str
    choices: tuple[str, ...]
    by_rules: str
    material: tuple[Material, ...] = ()
    deadline_s: float = 60.0
    output_tokens_max: int = 1000


class ModelAnswer(msgspec.Struct, frozen=True):
    """The choice, who made it, why, and what it cost."""

    choice: str
    source: Literal["rules", "model"]
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


class LanguageModelPort(Protocol):
    """A second opinion among answers that the rules allow. It can prefer one of them and cannot invent another."""

    async def choose(self, request: ModelRequest, *, key: str) -> ModelAnswer:
        """One of the request's choices. Raises InvalidInput for a request whose `by_rules` is not among them, and
        ModelFault where no answer was to be had."""
        ...

    async def check(self) -> None:
        """Ask it something that costs next to nothing. Raises ModelFault where it cannot be asked now."""
        ...


class ModelFault(Unavailable):
    """A model gave no answer. `status_code` is the HTTP status, None where no answer came at all; `retry_after_s` the
    seconds that it asked to be left alone for."""

    def __init__(self, message: str, *, status_code: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, status_code=status_code, retry_after_s=retry_after_s)
        self.status_code = status_code
        self.retry_after_s = retry_after_s
