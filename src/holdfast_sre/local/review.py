"""Reviews as records beside a local repository: one JSON file per pull request, replaced whole, under a lock.

What a pull request may become is decided by the pure functions at the end of this module; an approval counts for the
diff whose hash it names and for no other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.files import exclusively, in_thread, read_text, replace_text
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.ports import (
    Comment,
    Decision,
    Diff,
    DiffHash,
    PullRequest,
    ReviewRequest,
    Revision,
)

RECORD_BYTES_MAX = 32 << 20
TEXT_CHARS_MAX = 20_000
NUMBERS_MAX = 100_000


class LocalReviews:
    """Pull requests for one repository, in one folder. Implements `ReviewPort`."""

    def __init__(self, folder: Path, repository: GitRepository) -> None:
        self._folder = folder
        self._repository = repository

    async def offer(self, request: ReviewRequest, *, key: str) -> PullRequest:
        """Open the pull request of this key, or bring it up to its branch: a new head starts a new, undecided round.

        Raises NotFound where a branch is missing, Conflict where the branch has an open request of another key.
        """
        base = await self._repository.head(request.base)
        head = await self._repository.head(request.branch)
        diff = await self._repository.diff(base, head)
        return await self._alone(partial(self._offer_now, request, head, diff, key))

    async def read(self, number: int) -> PullRequest:
        """Raises NotFound for an unknown number."""
        return await in_thread(self._read, number)

    async def comment(self, number: int, text: str, *, by: str, key: str) -> PullRequest:
        """Add a remark, once per key."""
        return await self._change(number, partial(commented, comment=Comment(by, text, key)))

    async def decide(self, number: int, decision: Decision) -> PullRequest:
        """Record a verdict, once per key. Raises Conflict for another diff's hash, Rejected where it has ended."""
        return await self._change(number, partial(decided, decision=decision))

    async def merge(self, number: int, *, diff_hash: DiffHash, key: str) -> PullRequest:
        """Merge what was approved, once per key.

        Raises Conflict for another diff's hash, a branch that moved or a clash with the base; Rejected where nobody
        approved.
        """
        request = await self.read(number)
        if request.merged is None:
            check_mergeable(request, diff_hash)
        # The commit is found again by its key, so a crash between the two writes is mended by the repetition.
        commit = await self._repository.merge(
            request.branch,
            request.head,
            into=request.base,
            subject=f"Merge pull request #{number}: {request.title}",
            approved_by=", ".join(approvers(request)),
            key=key,
        )
        return await self._change(number, partial(merged, revision=commit.revision))

    def __repr__(self) -> str:
        return f"LocalReviews({str(self._folder)!r})"

    async def _alone(self, work: Callable[[], PullRequest]) -> PullRequest:
        return await exclusively(self._folder / ".lock", work)

    async def _change(self, number: int, rule: Callable[[PullRequest], PullRequest]) -> PullRequest:
        return await self._alone(partial(self._change_now, number, rule))

    def _change_now(self, number: int, rule: Callable[[PullRequest], PullRequest]) -> PullRequest:
        request = self._read(number)
        changed = rule(request)
        if changed != request:
            self._write(changed)
        return changed

    def _offer_now(self, wanted: ReviewRequest, head: Revision, diff: Diff, key: str) -> PullRequest:
        known = [self._read(number) for number in self._numbers()]
        mine = next((request for request in known if request.key == key), None)
        if mine is None:
            other = next((one for one in known if one.branch == wanted.branch and one.state not in _ENDED), None)
            if other is not None:
                raise Conflict(f"branch {wanted.branch}: expected no open pull request, found #{other.number}")
            number = max((request.number for request in known), default=0) + 1
            mine = PullRequest(number, wanted.title, wanted.body, wanted.branch, wanted.base, head, diff, key=key)
        else:
            mine = offered_again(mine, wanted, head, diff)
        self._write(mine)
        return mine

    def _numbers(self) -> list[int]:
        names = [path.stem.removeprefix("pull-") for path in self._folder.glob("pull-*.json")]
        return sorted(int(name) for name in names if name.isdigit())[:NUMBERS_MAX]

    def _read(self, number: int) -> PullRequest:
        path = self._path(number)
        try:
            return msgspec.json.decode(read_text(path, bytes_max=RECORD_BYTES_MAX), type=PullRequest)
        except FileNotFoundError as error:
            raise NotFound(f"pull request #{number}: expected {path.name} in {self._folder}, found none") from error
        except msgspec.DecodeError as error:
            raise InvalidInput(f"{path}: expected a pull request: {error}", path=str(path)) from error

    def _write(self, request: PullRequest) -> None:
        text = msgspec.json.format(msgspec.json.encode(request)).decode()
        replace_text(self._path(request.number), text + "\n")

    def _path(self, number: int) -> Path:
        return self._folder / f"pull-{number}.json"


_ENDED = ("merged", "closed")
_AFTER = {"approve": "approved", "request_changes": "changes_requested", "reject": "closed"}


def offered_again(request: PullRequest, wanted: ReviewRequest, head: Revision, diff: Diff) -> PullRequest:
    """The request brought up to its branch: unchanged for the same head, else open again in the next round."""
    if head == request.head:
        return request
    if request.state in _ENDED:
        raise Rejected(f"pull request #{request.number}: expected it open, found it {request.state}")
    return msgspec.structs.replace(
        request, title=wanted.title, body=wanted.body, head=head, diff=diff, state="open", round=request.round + 1
    )


def commented(request: PullRequest, *, comment: Comment) -> PullRequest:
    """The request with the remark, unless its key is there."""
    _check_text(comment.text)
    if any(known.key == comment.key for known in request.comments if comment.key):
        return request
    return msgspec.structs.replace(request, comments=(*request.comments, comment))


def decided(request: PullRequest, *, decision: Decision) -> PullRequest:
    """The request after a verdict. A verdict that was recorded already changes nothing, whatever came since."""
    _check_text(decision.text)
    if any(known.key == decision.key for known in request.decisions if decision.key):
        return request
    if request.state in _ENDED:
        raise Rejected(
            f"pull request #{request.number}: expected it open for a verdict, found it {request.state}",
            seen=request.state,
        )
    _check_diff(request, decision.diff_hash)
    state = _AFTER[decision.verdict]
    return msgspec.structs.replace(request, state=state, decisions=(*request.decisions, decision))


def check_mergeable(request: PullRequest, diff_hash: DiffHash) -> None:
    """Raises Conflict for another diff's hash, Rejected where the current one is not approved."""
    _check_diff(request, diff_hash)
    if request.state != "approved":
        raise Rejected(
            f"pull request #{request.number}: expected it approved, found it {request.state}", seen=request.state
        )


def merged(request: PullRequest, *, revision: Revision) -> PullRequest:
    """The request after its merge."""
    return msgspec.structs.replace(request, state="merged", merged=revision)


def approvers(request: PullRequest) -> list[str]:
    """Who approved the current diff, in order, each once."""
    names = [
        decision.by
        for decision in request.decisions
        if decision.verdict == "approve" and decision.diff_hash == request.diff.digest
    ]
    return list(dict.fromkeys(names))


def _check_diff(request: PullRequest, diff_hash: DiffHash) -> None:
    if diff_hash != request.diff.digest:
        raise Conflict(
            f"pull request #{request.number}: expected a verdict on diff {request.diff.digest[:12]} "
            f"(round {request.round}), saw one on {diff_hash[:12]}; read the current diff",
            expected=request.diff.digest,
            seen=diff_hash,
        )


def _check_text(text: str) -> None:
    if len(text) > TEXT_CHARS_MAX:
        raise InvalidInput(f"remark: expected at most {TEXT_CHARS_MAX} characters, saw {len(text)}")
