"""A process that is killed at any moment of its effects: the next one repeats them and finds one of each."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from holdfast_sre.local.deployment import LiveFolder
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.local.review import LocalReviews
from holdfast_sre.local.ticket import TicketFolder
from holdfast_sre.ports import PullRequest

BOT = Identity("bot", "bot@example.org")
TEXT = "apiVersion: v1\nkind: Service\nmetadata:\n  name: kite\nspec:\n  height: {}\n"

WORKER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from holdfast_sre.local.cluster import Condition
    from holdfast_sre.local.deployment import GitOpsFolder, LiveFolder
    from holdfast_sre.local.git import Identity
    from holdfast_sre.ports import Decision, Draft, ReviewRequest
    from holdfast_sre.local.repository import GitRepository
    from holdfast_sre.local.review import LocalReviews
    from holdfast_sre.local.ticket import TicketFolder

    class Cluster:
        async def condition(self):
            return Condition("healthy", "", ())

    async def main(root, base, text):
        repository = GitRepository(root / "repository", identity=Identity("bot", "bot@example.org"))
        tickets = TicketFolder(root / "tickets")
        reviews = LocalReviews(root / "reviews", repository)
        live = GitOpsFolder(LiveFolder(root / "live"), repository, Cluster(), namespace="sky")
        print("started", flush=True)
        await tickets.accept("INC-1", assignee="bot", key="accept")
        draft = Draft("fix", base, {"kite.yaml": text}, "Fix")
        await repository.propose(draft, key="propose")
        request = await reviews.offer(ReviewRequest("fix", "main", "Fix"), key="offer")
        await tickets.comment("INC-1", "see the pull request", by="bot", key="link")
        await reviews.decide(request.number, Decision("approve", "ana", request.diff.digest, key="approve"))
        merged = await reviews.merge(request.number, diff_hash=request.diff.digest, key="merge")
        await live.sync(merged.merged, key="sync")
        await tickets.finish("INC-1", "closed", "mended", by="bot", key="end")

    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    """
)


async def run_until_killed(root: Path, base: str, after_s: float | None) -> bool:
    """Run the worker; SIGKILL it and its git `after_s` seconds after its start. Whether it was killed."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, str(root), base, TEXT.format(3), stdout=subprocess.PIPE, process_group=0
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"started\n"
    try:
        async with asyncio.timeout(after_s):
            await worker.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):  # it may have ended in this very moment
            os.killpg(worker.pid, signal.SIGKILL)
        await worker.wait()
    assert worker.returncode in (0, -signal.SIGKILL)
    return worker.returncode != 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_killed_over_and_over_the_effects_happen_once(tmp_path: Path, seed: int) -> None:
    """The moments are drawn; a seed prints as the test's parameter. The last run is left alone."""
    repository = await GitRepository.create(tmp_path / "repository", identity=BOT)
    base = (await repository.record("main", {"kite.yaml": TEXT.format(9)}, "Add", author=BOT)).revision
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "INC-1.yaml").write_text("id: INC-1\ntitle: kite\nassignee: bot\n")
    draw = random.Random(seed)
    kills = 0
    for turn in range(8):
        kills += await run_until_killed(tmp_path, base, draw.uniform(0.0, 0.03 * (turn + 1)))
        clear_stale_git_locks(tmp_path / "repository")
    assert kills >= 3, f"only {kills} runs were killed before their end: the moments are drawn too late"
    assert not await run_until_killed(tmp_path, base, None)

    history = await repository.history(await repository.head("main"))
    assert len(history) == 2
    request: PullRequest = await LocalReviews(tmp_path / "reviews", repository).read(1)
    assert (request.state, request.round, len(request.decisions)) == ("merged", 1, 1)
    assert [path.name for path in (tmp_path / "reviews").glob("pull-*")] == ["pull-1.json"]
    ticket = await TicketFolder(tmp_path / "tickets").read("INC-1")
    assert (ticket.status, [comment.key for comment in ticket.comments]) == ("closed", ["link", "end"])
    assert LiveFolder(tmp_path / "live").record().revision == request.merged == await repository.head("main")


def clear_stale_git_locks(repository: Path) -> None:
    """A git that is killed itself leaves its lock files, and says so to the next; a person removes them."""
    for lock in repository.rglob("*.lock"):
        lock.unlink()
