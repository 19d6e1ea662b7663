"""Reviews beside a repository: one pull request per key, a verdict counts for the diff that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.review import LocalReviews, approvers, decided
from holdfast_sre.ports import Decision, DiffHash, Draft, PullRequest, ReviewRequest, Revision, Verdict

BOT = Identity("bot", "bot@example.org")
REQUEST = ReviewRequest("fix/kite", "main", "Lower the kite", "It hit a tree.")


class Desk:
    """A repository with one proposed fix, and its reviews."""

    def __init__(self, path: Path) -> None:
        self.folder = path / "reviews"
        self.path = path

    async def open(self) -> PullRequest:
        self.repository = await GitRepository.create(self.path / "repository", identity=BOT)
        self.reviews = LocalReviews(self.folder, self.repository)
        self.base = (await self.repository.record("main", {"kite.yaml": "height: 9\n"}, "Add", author=BOT)).revision
        await self.propose(3, None)
        return await self.reviews.offer(REQUEST, key="pr")

    async def propose(self, height: int, expects: Revision | None) -> Revision:
        files: dict[str, str | None] = {"kite.yaml": f"height: {height}\n"}
        draft = Draft("fix/kite", self.base, files, "Lower", "", expects)
        return (await self.repository.propose(draft, key=f"height-{height}")).revision


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def verdict(on: PullRequest, what: Verdict, key: str = "v", by: str = "ana") -> Decision:
    return Decision(what, by, on.diff.digest, key=key)


async def test_offering_again_with_the_key_gives_the_same_pull_request(desk: Desk) -> None:
    request = await desk.open()
    assert (request.number, request.state, request.round) == (1, "open", 1)
    assert "-height: 9\n+height: 3\n" in request.diff.text
    assert await desk.reviews.offer(REQUEST, key="pr") == request
    assert sorted(path.name for path in desk.folder.glob("pull-*")) == ["pull-1.json"]


async def test_another_key_may_not_open_a_second_one_for_the_branch(desk: Desk) -> None:
    await desk.open()
    with pytest.raises(Conflict, match="#1"):
        await desk.reviews.offer(REQUEST, key="other")


async def test_a_second_round_updates_the_same_pull_request(desk: Desk) -> None:
    first = await desk.open()
    await desk.reviews.decide(1, verdict(first, "request_changes"))
    await desk.propose(2, first.head)
    second = await desk.reviews.offer(REQUEST, key="pr")
    assert (second.number, second.state, second.round) == (1, "open", 2)
    assert second.diff.digest != first.diff.digest
    assert [decision.verdict for decision in second.decisions] == ["request_changes"]


async def test_an_approval_of_round_one_never_hits_round_two(desk: Desk) -> None:
    first = await desk.open()
    await desk.propose(2, first.head)
    second = await desk.reviews.offer(REQUEST, key="pr")
    with pytest.raises(Conflict, match="round 2") as caught:
        await desk.reviews.decide(1, verdict(first, "approve"))
    assert (caught.value.expected, caught.value.seen) == (second.diff.digest, first.diff.digest)
    assert (await desk.reviews.read(1)).state == "open"


async def test_merge_wants_the_approval_of_this_very_diff(desk: Desk) -> None:
    request = await desk.open()
    with pytest.raises(Rejected, match="expected it approved"):
        await desk.reviews.merge(1, diff_hash=request.diff.digest, key="merge")
    await desk.reviews.decide(1, verdict(request, "approve"))
    with pytest.raises(Conflict, match="verdict on diff"):
        await desk.reviews.merge(1, diff_hash=DiffHash("0" * 64), key="merge")
    merged = await desk.reviews.merge(1, diff_hash=request.diff.digest, key="merge")
    assert (merged.state, merged.merged) == ("merged", await desk.repository.head("main"))
    assert await desk.reviews.merge(1, diff_hash=request.diff.digest, key="merge") == merged


async def test_a_crash_after_the_merge_commit_is_mended_by_repeating(desk: Desk) -> None:
    """The commit is there and the record is not, as after a kill between the two."""
    request = await desk.open()
    approved = await desk.reviews.decide(1, verdict(request, "approve"))
    before = (desk.folder / "pull-1.json").read_text()
    first = await desk.reviews.merge(1, diff_hash=approved.diff.digest, key="merge")
    (desk.folder / "pull-1.json").write_text(before)
    assert await desk.reviews.merge(1, diff_hash=approved.diff.digest, key="merge") == first
    assert len(await desk.repository.history(await desk.repository.head("main"))) == 2


async def test_a_verdict_is_recorded_once_and_repeats_are_harmless_afterwards(desk: Desk) -> None:
    request = await desk.open()
    approval = verdict(request, "approve")
    await desk.reviews.decide(1, approval)
    assert len((await desk.reviews.decide(1, approval)).decisions) == 1
    await desk.reviews.merge(1, diff_hash=request.diff.digest, key="merge")
    assert (await desk.reviews.decide(1, approval)).state == "merged"


async def test_an_ended_pull_request_takes_no_verdict_and_no_new_round(desk: Desk) -> None:
    request = await desk.open()
    closed = await desk.reviews.decide(1, verdict(request, "reject"))
    assert closed.state == "closed"
    with pytest.raises(Rejected, match="found it closed"):
        await desk.reviews.decide(1, verdict(request, "approve", key="late"))
    await desk.propose(2, request.head)
    with pytest.raises(Rejected, match="found it closed"):
        await desk.reviews.offer(REQUEST, key="pr")


async def test_remarks_are_kept_once_per_key(desk: Desk) -> None:
    await desk.open()
    await desk.reviews.comment(1, "why 3?", by="ana", key="c")
    request = await desk.reviews.comment(1, "why 3?", by="ana", key="c")
    assert [comment.text for comment in request.comments] == ["why 3?"]
    with pytest.raises(InvalidInput, match="20000"):
        await desk.reviews.comment(1, "x" * 20_001, by="ana", key="d")


async def test_unknown_numbers_and_damaged_records_are_named(desk: Desk) -> None:
    await desk.open()
    with pytest.raises(NotFound, match="#7"):
        await desk.reviews.read(7)
    (desk.folder / "pull-1.json").write_text('{"number": "x"}')
    with pytest.raises(InvalidInput, match=r"pull-1\.json"):
        await desk.reviews.read(1)


async def test_numbers_go_on_after_the_highest(desk: Desk) -> None:
    first = await desk.open()
    await desk.reviews.decide(1, verdict(first, "reject"))
    files: dict[str, str | None] = {"kite.yaml": "height: 1\n"}
    await desk.repository.propose(Draft("fix/other", desk.base, files, "Other"), key="o")
    other = await desk.reviews.offer(ReviewRequest("fix/other", "main", "Other"), key="other")
    assert other.number == 2


async def test_approvers_are_those_of_the_current_diff_each_once(desk: Desk) -> None:
    request = await desk.open()
    for key, by in (("1", "ana"), ("2", "ben"), ("3", "ana")):
        request = decided(request, decision=verdict(request, "approve", key, by))
    assert approvers(request) == ["ana", "ben"]
