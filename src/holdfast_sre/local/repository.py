"""A local git repository of manifests: real branches and commits, made beside any checkout.

A commit of the bot ends in the line `Holdfast-Key: KEY`, which is how a repetition finds what was done. References move
by compare-and-swap against the head that was read. The repository may be bare, or one that people work in: where the
branch that moves is checked out, clean files follow it, and changed ones in the way make the move a `Conflict`.
"""

from __future__ import annotations

import contextlib
import re
from itertools import accumulate
from pathlib import Path

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.files import in_thread
from holdfast_sre.local import git_messages, git_trees
from holdfast_sre.local.git import LATEST_S, Git, GitFailed, Identity
from holdfast_sre.ports import Commit, Diff, Draft, Revision
from holdfast_sre.repair.tree.roots import is_yaml, sources_among

FILES_MAX = 5_000
FILES_BYTES_MAX = 16 * 1024 * 1024
COMMITS_MAX = 1_000

_ABSENT = "0" * 40
_REVISION = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LOG_FORMAT = "--format=%x00%H%x00%P%x00%an <%ae>%x00%at%x00%s"
_DIFF_FORMAT = (
    "--patch",
    "--full-index",  # the blobs' whole ids: the diff's hash then pins every byte, and no abbreviation grows
    "--unified=3",
    "--no-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)


class GitRepository:
    """The repository in one folder. Implements `RepositoryPort`; `merge` serves the local review beside it."""

    def __init__(self, path: Path, *, identity: Identity) -> None:
        self.path = path
        self._git = Git(path, identity=identity)

    @classmethod
    async def create(cls, path: Path, *, identity: Identity, branch: str = "main") -> GitRepository:
        """A bare repository at `path`, made if it is missing; `branch` is its first."""
        await in_thread(path.mkdir, parents=True, exist_ok=True)
        repository = cls(path, identity=identity)
        await repository._git.run("init", "--bare", "--quiet", ".")
        await repository._git.run("symbolic-ref", "HEAD", await repository._ref(branch))
        return repository

    async def head(self, branch: str) -> Revision:
        """Where `branch` points. Raises NotFound for an unknown branch, InvalidInput where there is no repository."""
        head = await self._head(branch)
        if head is None:
            raise NotFound(f"{self.path}: expected a branch {branch!r}, found none", branch=branch)
        return head

    async def files(self, revision: Revision) -> dict[str, str]:
        """The YAML files of a revision and what programs build more from: path to text, with bytes that are no UTF-8 as
        lone surrogates where it is no YAML.

        Raises InvalidInput past 5,000 YAML files or 16 MiB of them. Of the other files those that still have room.
        """
        await self._check(revision)
        blobs = {path: blob for _, blob, path in await git_trees.entries(self._git, revision)}
        found = sources_among(blobs)
        if (count := sum(map(is_yaml, found))) > FILES_MAX:
            raise InvalidInput(f"{revision[:12]}: expected at most {FILES_MAX} manifests, found {count}")
        found = found[:FILES_MAX]
        names = "".join(f"{blobs[path]}\n" for path in found).encode()
        sizes = list(map(int, (await self._git.run("cat-file", "--batch-check=%(objectsize)", data=names)).split()))
        if (size := sum(sizes[:count])) > FILES_BYTES_MAX:
            raise InvalidInput(f"{revision[:12]}: expected at most {FILES_BYTES_MAX} bytes, found {size}")
        totals = accumulate(sizes)
        found = [path for path, total in zip(found, totals, strict=True) if total <= FILES_BYTES_MAX]
        wanted = "".join(f"{blobs[path]}\n" for path in found).encode()
        output = await self._git.run("cat-file", "--batch", data=wanted)
        texts, at = {}, 0
        for path in found:
            line_end = output.index(b"\n", at)
            size = int(output[at:line_end].rpartition(b" ")[2])
            texts[path] = _decoded(output[line_end + 1 : line_end + 1 + size], path, revision)
            at = line_end + 1 + size + 1
        return dict(sorted(texts.items()))

    async def history(
        self, revision: Revision, *, paths: tuple[str, ...] = (), commits_max: int = 50
    ) -> tuple[Commit, ...]:
        """Commits on the first-parent line up to `revision`, newest first; a merge counts as what it brought."""
        await self._check(revision)
        output = await self._git.run(
            "log",
            "-z",
            "--first-parent",
            "-m",
            "--no-renames",
            "--name-only",
            f"--max-count={min(commits_max, COMMITS_MAX)}",
            _LOG_FORMAT,
            revision,
            "--",
            *(f":(literal,top){git_trees.check_path(path)}" for path in paths),
        )
        return _parse_log(output.decode(errors="replace"))

    async def diff(self, base: Revision, head: Revision) -> Diff:
        """What `head` changed since it left `base`. The same commits give the same text and hash on every machine."""
        await self._check(base)
        await self._check(head)
        left = await self._merge_base(base, head)
        output = await self._git.run("diff-tree", "-r", *_DIFF_FORMAT, left, head)
        return Diff.of(output.decode(errors="replace"))

    async def propose(self, draft: Draft, *, key: str) -> Commit:
        """Put the draft on its branch, as one commit per key.

        Raises Conflict when the branch is not where `draft.expects` says, Rejected when nothing would change.
        """
        ref = await self._ref(draft.branch)
        await self._check(draft.base)
        if (done := await self._keyed(ref, key)) is not None:
            return done
        head = await self._head(draft.branch)
        self._expect(draft.branch, draft.expects, head)
        tree = await git_trees.tree_with(self._git, draft.base, draft.files)
        if tree == await self._tree(draft.base):
            raise Rejected(f"branch {draft.branch}: expected a change to {sorted(draft.files)}, found none")
        parents: tuple[Revision, ...] = (head or draft.base,)
        if head is not None and not await self._is_ancestor(draft.base, head):
            parents = (head, draft.base)  # the base moved on: take it in, or its commits would show as ours
        text = git_messages.message(draft.subject, draft.body, key=key)
        return await self._commit(ref, head, tree, parents, text)

    async def merge(
        self, branch: str, head: Revision, *, into: str, subject: str, approved_by: str, key: str
    ) -> Commit:
        """Merge `branch`, which must be at `head`, by a merge commit. Raises Conflict where it moved or clashes."""
        ref = await self._ref(into)
        if (done := await self._keyed(ref, key)) is not None:
            return done
        self._expect(branch, head, await self._head(branch))
        ours = await self.head(into)
        if await self._is_ancestor(head, ours):
            raise Rejected(f"branch {branch}: expected something to merge, but {into} has all of it")
        left = await self._merge_base(ours, head)
        tree = await self._tree(head) if left == ours else await git_trees.merged_tree(self._git, left, ours, head)
        text = git_messages.message(subject, "", key=key, trailers={"Approved-by": approved_by})
        return await self._commit(ref, ours, tree, (ours, head), text)

    async def revert(self, revision: Revision, *, branch: str, reason: str, key: str) -> Commit:
        """Undo a commit of `branch` by a new commit on it; of a merge, what it brought.

        Raises Conflict where later commits changed the same lines, Rejected where there is nothing to undo.
        """
        ref = await self._ref(branch)
        if (done := await self._keyed(ref, key)) is not None:
            return done
        ours = await self.head(branch)
        await self._check(revision)
        if not await self._is_ancestor(revision, ours):
            raise Rejected(f"revert: expected a commit of {branch}, saw {revision[:12]}", revision=revision)
        undone = (await self.history(revision, commits_max=1))[0]
        if not undone.parents:
            raise Rejected(f"revert: {revision[:12]} is the first commit, before it there is nothing")
        tree = await git_trees.merged_tree(self._git, revision, ours, undone.parents[0])
        if tree == await self._tree(ours):
            raise Rejected(f"revert: {branch} holds nothing of {revision[:12]} any more")
        body = f"{reason}\n\nThis reverts commit {revision}."
        text = git_messages.message(f'Revert "{undone.subject}"', body, key=key)
        return await self._commit(ref, ours, tree, (ours,), text)

    async def record(
        self, branch: str, files: dict[str, str | None], subject: str, *, author: Identity, at_s: int | None = None
    ) -> Commit:
        """Somebody else's commit on top of `branch`, made if it is missing: for setting a repository up."""
        ref = await self._ref(branch)
        head = await self._head(branch)
        base = head or await git_trees.empty_tree(self._git)
        tree = await git_trees.tree_with(self._git, base, files)
        parents = () if head is None else (head,)
        return await self._commit(ref, head, tree, parents, subject + "\n", author=author, at_s=at_s)

    def __repr__(self) -> str:
        return f"GitRepository({str(self.path)!r})"

    async def _ref(self, branch: str) -> str:
        try:
            await self._git.run("check-ref-format", "--branch", branch)
        except GitFailed as error:
            raise InvalidInput(f"expected the name of a git branch, saw {branch!r}", seen=branch) from error
        return f"refs/heads/{branch}"

    async def _head(self, branch: str) -> Revision | None:
        ref = await self._ref(branch)
        output = await self._git.text("for-each-ref", "--format=%(objectname)", "--count=1", ref)
        return Revision(output) if output else None

    async def _check(self, revision: Revision) -> None:
        if not _REVISION.fullmatch(revision):
            raise InvalidInput(f"expected a commit's full id, saw {revision[:80]!r}", seen=revision)
        try:
            await self._git.run("cat-file", "-e", f"{revision}^{{commit}}")
        except GitFailed as error:
            raise NotFound(f"{self.path}: expected commit {revision[:12]}, found none", revision=revision) from error

    def _expect(self, branch: str, expected: Revision | None, seen: Revision | None) -> None:
        if expected != seen:
            raise Conflict(
                f"branch {branch}: expected {_where(expected)}, found {_where(seen)}", expected=expected, seen=seen
            )

    async def _tree(self, revision: Revision) -> str:
        return await self._git.text("rev-parse", f"{revision}^{{tree}}")

    async def _merge_base(self, one: Revision, other: Revision) -> Revision:
        try:
            return Revision(await self._git.text("merge-base", one, other))
        except GitFailed as error:
            raise Rejected(f"{one[:12]} and {other[:12]}: expected a common history, found none") from error

    async def _is_ancestor(self, old: Revision, new: Revision) -> bool:
        try:
            await self._git.run("merge-base", "--is-ancestor", old, new)
        except GitFailed as error:
            if error.facts["status"] != 1:
                raise
            return False
        return True

    async def _keyed(self, ref: str, key: str) -> Commit | None:
        line = f"{git_messages.KEY_TRAILER}: {git_messages.check_key(key)}"
        if not await self._git.text("for-each-ref", ref):
            return None
        output = await self._git.text(
            "log", "-z", f"--max-count={COMMITS_MAX}", "--fixed-strings", f"--grep={line}", "--format=%H%x00%B", ref
        )
        parts = output.split("\0")
        for revision, text in zip(parts[::2], parts[1::2], strict=False):
            if git_messages.is_keyed(text, key):
                return (await self.history(Revision(revision), commits_max=1))[0]
        return None

    async def _commit(
        self,
        ref: str,
        old: Revision | None,
        tree: str,
        parents: tuple[Revision, ...],
        text: str,
        *,
        author: Identity | None = None,
        at_s: int | None = None,
    ) -> Commit:
        new = Revision(await git_trees.commit_tree(self._git, tree, parents, text, author=author, at_s=at_s))
        await self._move(ref, old, new)
        return (await self.history(new, commits_max=1))[0]

    async def _move(self, ref: str, old: Revision | None, new: Revision) -> None:
        """Point `ref` from `old` to `new`, and the checkout that stands on it, if there is one."""
        checkout = await self._checkout(ref)
        start = old or await git_trees.empty_tree(self._git)
        if checkout is not None:
            await self._follow(checkout, start, new)
        try:
            await self._git.run("update-ref", ref, new, old or _ABSENT)
        except GitFailed:
            if checkout is not None:
                with contextlib.suppress(Conflict):
                    await self._follow(checkout, new, start)
            branch = ref.removeprefix("refs/heads/")
            self._expect(branch, old, await self._head(branch))
            raise

    async def _checkout(self, ref: str) -> Path | None:
        listing = await self._git.text("worktree", "list", "--porcelain")
        for block in listing.split("\n\n"):
            lines = block.splitlines()
            if f"branch {ref}" in lines and (folder := Path(lines[0].removeprefix("worktree "))).is_dir():
                return folder
        return None

    async def _follow(self, checkout: Path, start: str, end: str) -> None:
        with contextlib.suppress(GitFailed):  # says "needs update" of changed files; the next command judges them
            await self._git.run("update-index", "-q", "--refresh", cwd=checkout)
        try:
            await self._git.run("read-tree", "-m", "-u", start, end, cwd=checkout)
        except GitFailed as error:
            raise Conflict(
                f"{checkout}: expected a checkout without changes in the way of the new commit; "
                f"commit or stash them ({error})",
                path=str(checkout),
            ) from error


def _where(revision: Revision | None) -> str:
    return "no such branch" if revision is None else revision[:12]


def _decoded(data: bytes, path: str, revision: Revision) -> str:
    if not is_yaml(path):
        return data.decode(errors="surrogateescape")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path} at {revision[:12]}: expected UTF-8 text, found {error.reason}", path=path
        ) from error


def _parse_log(output: str) -> tuple[Commit, ...]:
    # Every commit: an empty token, five fields, then its paths, of which the first comes after a line break.
    tokens = output.split("\0")
    commits, at = [], 0
    while at + 5 < len(tokens):
        revision, parents, author, time, subject = tokens[at + 1 : at + 6]
        at += 6
        paths = []
        while at < len(tokens) and tokens[at]:
            paths.append(tokens[at].removeprefix("\n"))
            at += 1
        above = tuple(Revision(parent) for parent in parents.split())
        commits.append(Commit(Revision(revision), above, author, min(int(time), LATEST_S), subject, tuple(paths)))
    return tuple(commits)
