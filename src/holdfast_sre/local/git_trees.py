"""Trees and commits made without a work tree: in a temporary index, so that nobody's checkout is in the way."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from holdfast import Conflict, InvalidInput
from holdfast_sre.files import in_thread
from holdfast_sre.local.git import Git, GitFailed, Identity

_REGULAR = frozenset({"100644", "100755"})


def check_path(path: str) -> str:
    """`path` itself if it is a relative path inside a repository. Raises InvalidInput for anything else."""
    parts = PurePosixPath(path).parts
    is_plain = bool(parts) and path == "/".join(parts) and not path.startswith("/")
    if not is_plain or any(part == ".." or part.lower() == ".git" for part in parts) or "\0" in path or "\n" in path:
        raise InvalidInput(f"path in a repository: expected a plain relative one, saw {path!r}", seen=path)
    return path


async def tree_with(git: Git, base: str, files: Mapping[str, str | None]) -> str:
    """The tree of `base` with `files` laid over it: text replaces or adds, None removes. Modes are kept."""
    modes = {path: mode for mode, _, path in await entries(git, base)}
    lines = []
    for path, text in sorted(files.items()):
        check_path(path)
        if text is None:
            lines.append(f"0 {'0' * 40}\t{path}")
            continue
        blob = await git.text("hash-object", "-w", "--stdin", data=text.encode())
        lines.append(f"{modes.get(path, '100644')} {blob}\t{path}")
    with tempfile.TemporaryDirectory(prefix="holdfast-index-") as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        await git.run("read-tree", base, env=env)
        data = "".join(f"{line}\0" for line in lines).encode()
        await git.run("update-index", "-z", "--index-info", data=data, env=env)
        return await git.text("write-tree", env=env)


async def empty_tree(git: Git) -> str:
    """The tree without files, which every history starts from."""
    return await git.text("hash-object", "-t", "tree", "-w", "--stdin")


async def entries(git: Git, tree: str) -> list[tuple[str, str, str]]:
    """The regular files of a tree: (mode, blob, path), by path. Links and submodules are left out."""
    output = (await git.run("ls-tree", "-r", "-z", "--full-tree", tree)).decode(errors="replace")
    found = []
    for line in output.split("\0")[:-1]:
        meta, path = line.split("\t", 1)
        mode, _, blob = meta.split(" ")
        if mode in _REGULAR:
            found.append((mode, blob, path))
    return found


async def merged_tree(git: Git, base: str, ours: str, theirs: str) -> str:
    """The tree of a three-way merge. Raises Conflict naming the files that both sides changed in the same place.

    `read-tree` settles what one side alone touched; what is left is merged line by line. Works with every git, which
    `merge-tree --write-tree` (2.38) and its `--merge-base` (2.40) do not.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-merge-") as folder:
        env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        await git.run("read-tree", "-i", "-m", "--aggressive", base, ours, theirs, env=env)
        unmerged = (await git.run("ls-files", "-u", "-z", env=env)).decode(errors="replace")
        stages: dict[str, dict[str, tuple[str, str]]] = {}
        for line in unmerged.split("\0")[:-1]:
            meta, path = line.split("\t", 1)
            mode, blob, stage = meta.split(" ")
            stages.setdefault(path, {})[stage] = (mode, blob)
        lines = []
        clashes = []
        for path, sides in sorted(stages.items()):
            blob_merged = await _merged_blob(git, Path(folder), sides)
            if blob_merged is None:
                clashes.append(path)
            else:
                lines.append(f"0 {'0' * 40}\t{path}\0{sides['2'][0]} {blob_merged}\t{path}\0")
        if clashes:
            raise Conflict(f"merge: expected changes in different places, found clashes in {clashes}", files=clashes)
        await git.run("update-index", "-z", "--index-info", data="".join(lines).encode(), env=env)
        return await git.text("write-tree", env=env)


async def _merged_blob(git: Git, folder: Path, sides: Mapping[str, tuple[str, str]]) -> str | None:
    if set(sides) != {"1", "2", "3"}:
        return None  # one side removed what the other changed
    names = []
    for stage in ("2", "1", "3"):
        name = folder / stage
        await in_thread(name.write_bytes, await git.run("cat-file", "blob", sides[stage][1]))
        names.append(str(name))
    try:
        merged = await git.run("merge-file", "-p", "--quiet", *names)
    except GitFailed:
        return None
    return await git.text("hash-object", "-w", "--stdin", data=merged)


async def commit_tree(
    git: Git,
    tree: str,
    parents: tuple[str, ...],
    message: str,
    *,
    author: Identity | None = None,
    at_s: int | None = None,
) -> str:
    """Write a commit and give its id; no reference moves. `author` and `at_s` (epoch seconds) default to us and now."""
    env: dict[str, str] = {}
    if author is not None:
        env |= {"GIT_AUTHOR_NAME": author.name, "GIT_AUTHOR_EMAIL": author.email}
    if at_s is not None:
        env |= {"GIT_AUTHOR_DATE": f"@{at_s} +0000", "GIT_COMMITTER_DATE": f"@{at_s} +0000"}
    above = [part for parent in parents for part in ("-p", parent)]
    return await git.text("commit-tree", tree, *above, "-F", "-", data=message.encode(), env=env)
