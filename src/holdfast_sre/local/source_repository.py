"""The history of a service's source, as git has it on this machine: read, never written, and only so much of it.

Commits are those of the first-parent line, a merge counting as what it brought, at the time at which they were
committed: that is when they came into what is built. Everything that is read has a bound, and what a bound cuts off is
counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from holdfast import InvalidInput
from holdfast_sre.diagnosis.findings import quote
from holdfast_sre.history.keys import Key
from holdfast_sre.history.running import RunningName, commit_in, running, tags_for
from holdfast_sre.history.sources import Question, SourceCommit, SourcePast
from holdfast_sre.history.touched import touched_keys
from holdfast_sre.local.git import LATEST_S, Git, GitFailed
from holdfast_sre.ports import Commit, Revision

COMMITS_MAX = 50
PATHS_MAX = 20
LOG_BYTES_MAX = 4 << 20
DIFF_BYTES_MAX = 256 << 10
FILE_BYTES_MAX = "1m"
"""A larger file is data: git compares it as such, by its size alone."""
USERS_MAX = 3

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@/-]{0,255}")
_LOG = (
    *("log", "-z", "--first-parent", "-m", "--raw", "--no-renames", "--no-abbrev", "--no-color", "--no-ext-diff"),
    *(
        "--no-textconv",
        "--ignore-submodules=all",
        f"--max-count={COMMITS_MAX + 1}",
        "--format=%x00%H%x00%P%x00%an <%ae>%x00%ct%x00%s",
    ),
)
_DIFF = (
    *("diff-tree", "-r", "-p", "-M", "-l200", "--unified=0", "--no-color", "--no-ext-diff", "--no-textconv"),
    *("--ignore-submodules=all", "--src-prefix=a/", "--dst-prefix=b/"),
)


class SourceRepository:
    """The source below `folder` (empty for all) of the repository that `git` runs in. Implements `SourcePort`."""

    def __init__(self, git: Git, folder: str = "") -> None:
        self._git = git
        self._folder = folder

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._git.path / self._folder

    async def past(self, question: Question) -> SourcePast:
        """What changed. Raises InvalidInput where there is no commit, Unavailable where git does not answer."""
        head = await self.head()
        names = await self._resolved(question.now, question.service)
        runs = running(question.now, names)
        upto = runs.revision or head
        ran = running(question.before, await self._resolved(question.before, question.service))
        start = ran.revision if ran.revision and await self._is_before(ran.revision, runs.revision) else None
        commits, notes = await self._commits(upto, start, None if start else question.since_s, question.known)
        if start is None and (note := await shallow_note(self._git, upto, question.since_s)):
            notes.append(note)
        if runs.revision is None:
            notes.append(f"which commit runs: {runs.told}; looked at up to the head, {head[:10]}")
        missing = tuple(f"source of {question.service}: {note}" for note in notes)
        rollout = f"{ran.name} -> {runs.name}" if start else ""
        return SourcePast(question.service, commits, upto, runs.told, rollout, missing)

    async def head(self) -> Revision:
        """The commit that is checked out. Raises InvalidInput where there is none."""
        try:
            return Revision(await self._git.text("rev-parse", "--verify", "--quiet", "HEAD^{commit}"))
        except GitFailed as error:
            raise InvalidInput(f"{self.path}: expected a git repository with a commit, found none") from error

    async def users(self, name: str) -> tuple[str, ...]:
        """The files at the head in which a name stands as a whole word, the first USERS_MAX by path."""
        revision = await self.head()
        try:
            output, _ = await self._git.head_of(
                *("grep", "-l", "-z", "-I", "-w", "--fixed-strings", "--no-color", "--no-textconv", "-e", name),
                *(revision, "--", *self._below()),
                bytes_max=LOG_BYTES_MAX,
                env=_ENVIRONMENT,
            )
        except GitFailed as error:
            if error.facts["status"] != 1:
                raise
            return ()
        found = sorted(part.partition(":")[2] for part in output.decode(errors="replace").split("\0") if part)
        return tuple(quote("", path).text for path in found[:USERS_MAX])

    # -- which commits ------------------------------------------------------------------------------------------

    async def _resolved(self, names: Iterable[RunningName], service: str) -> Mapping[str, Revision]:
        """The names that the repository knows, as tags or as (the beginning of) a commit's id."""
        found: dict[str, Revision] = {}
        for name in names:
            tags = tuple(tag for tag in tags_for(name.text, service) if _TAG.fullmatch(tag))
            revision = await self._tagged(tags) or await self._commit(commit_in(name.text))
            if revision is not None:
                found[name.text] = revision
        return found

    async def _tagged(self, tags: tuple[str, ...]) -> Revision | None:
        """The commit of the first of the tags that is there."""
        refs = [f"refs/tags/{tag}" for tag in tags]
        if not refs:
            return None
        output = await self._git.text(
            "for-each-ref", "--format=%(refname) %(objectname) %(objecttype) %(*objectname) %(*objecttype)", *refs
        )
        there = {}
        for line in output.splitlines():
            ref, *targets = line.split(" ")
            for revision, kind in zip(targets[::2], targets[1::2], strict=False):
                if kind == "commit":
                    there[ref] = Revision(revision)
        return next((there[ref] for ref in refs if ref in there), None)

    async def _commit(self, beginning: str) -> Revision | None:
        """The one commit whose id begins so."""
        if not beginning:
            return None
        try:
            found = await self._git.text("rev-parse", "--verify", "--quiet", f"{beginning}^{{commit}}")
        except GitFailed:
            return None
        return Revision(found) if found.startswith(beginning) else None  # a branch may be called like an id

    async def _is_before(self, old: Revision, new: Revision | None) -> bool:
        if new is None or old == new:
            return False
        try:
            await self._git.run("merge-base", "--is-ancestor", old, new)
        except GitFailed:
            return False
        return True

    # -- what they changed --------------------------------------------------------------------------------------

    async def _commits(
        self, upto: Revision, start: Revision | None, since_s: float | None, known: frozenset[Key]
    ) -> tuple[tuple[SourceCommit, ...], list[str]]:
        window = [upto] if start is None else [upto, f"^{start}"]
        age = [] if since_s is None else [f"--max-age={int(since_s) + 1}"]
        output, is_cut = await self._git.head_of(
            *_LOG, *age, *window, "--", *self._below(), bytes_max=LOG_BYTES_MAX, env=_ENVIRONMENT
        )
        listed = _parse_log(output.decode(errors="replace"), is_cut=is_cut)
        notes = []
        if len(listed) > COMMITS_MAX or is_cut:
            notes.append(f"older commits than the last {min(len(listed), COMMITS_MAX)} were not looked at")
        # A first commit changed nothing; of the first of a shallow clone it is not known what it changed.
        changes = [each for each in listed[:COMMITS_MAX] if each.commit.parents]
        found = [await self._with_keys(each, known) for each in changes]
        if cut := sum(each.is_cut for each in found):
            notes.append(f"only a part of the diff was looked at, of {cut} large commit{'s' if cut > 1 else ''}")
        return tuple(found), notes

    async def _with_keys(self, listed: SourceCommit, known: frozenset[Key]) -> SourceCommit:
        commit = listed.commit
        try:
            patch, is_cut = await self._git.head_of(
                *(*_DIFF, commit.parents[0], commit.revision, "--", *self._below()),
                bytes_max=DIFF_BYTES_MAX,
                env=_ENVIRONMENT,
            )
        except GitFailed:  # blobs that a partial clone has left behind
            patch, is_cut = b"", True
        text = patch.decode(errors="replace")
        binaries = sum(line.startswith("Binary files ") for line in text.split("\n"))
        return SourceCommit(commit, listed.files, touched_keys(text, known), binaries, is_cut or listed.is_cut)

    def _below(self) -> tuple[str, ...]:
        return (f":(literal,top){self._folder}",) if self._folder else ()


async def shallow_note(git: Git, upto: Revision, since_s: float | None) -> str:
    """What a clone without its older history cannot tell since a moment (epoch seconds; None: ever); "" for nothing."""
    if await git.text("rev-parse", "--is-shallow-repository") != "true":
        return ""
    ends = await git.text("log", "--first-parent", "--max-parents=0", "--format=%ct %cI", "-1", upto)
    at_s, _, told = ends.partition(" ")
    if not at_s or (since_s is not None and int(at_s) <= since_s):
        return ""
    when = " after all was well" if since_s is not None else ""
    return f"the clone is shallow, its history begins{when}, at {told}; `git fetch --unshallow` brings the rest"


_ENVIRONMENT = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "core.bigFileThreshold",
    "GIT_CONFIG_VALUE_0": FILE_BYTES_MAX,
}


def _parse_log(output: str, *, is_cut: bool) -> list[SourceCommit]:
    """Commits with the files that they changed. Each is an empty token and five fields; then two tokens a file."""
    tokens = output.split("\0")
    found, at = [], 0
    while at + 5 < len(tokens):
        revision, parents, author, time, subject = tokens[at + 1 : at + 6]
        at += 6
        if not _COMMIT.fullmatch(revision) or not time.isdigit():
            break
        paths: list[str] = []
        files = 0
        while at + 1 < len(tokens) and tokens[at].removeprefix("\n").startswith(":"):
            files += 1
            if len(paths) < PATHS_MAX:
                paths.append(quote("", tokens[at + 1]).text)
            at += 2
        above = tuple(Revision(parent) for parent in parents.split())
        said = Commit(
            Revision(revision),
            above,
            quote("", author).text,
            min(int(time), LATEST_S),
            quote("", subject).text,
            tuple(paths),
        )
        found.append(SourceCommit(said, files))
    if is_cut and found:
        last = found.pop()
        found.append(SourceCommit(last.commit, last.files, is_cut=True))
    return found
