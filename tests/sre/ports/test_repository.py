"""A local git repository: one commit per key, references that only move from where they were read."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.local.git import Identity
from holdfast_sre.local.repository import GitRepository
from holdfast_sre.ports import Commit, Draft, Revision

BOT = Identity("bot", "bot@example.org")
ANA = Identity("Ana", "ana@example.org")
KITE = "kite:\n  height: 3\n  tail: short\n  colour: red\n  line: thin\n  wind: mild\n"


async def seeded(path: Path) -> tuple[GitRepository, Revision]:
    repository = await GitRepository.create(path, identity=BOT)
    await repository.record(
        "main", {"kite.yaml": KITE, "notes.txt": "n"}, "Add the kite", author=ANA, at_s=1_700_000_000
    )
    commit = await repository.record(
        "main", {"kite.yaml": KITE.replace("3", "4")}, "Fly higher", author=ANA, at_s=1_700_000_060
    )
    return repository, commit.revision


def raised(base: Revision, height: int = 3, *, expects: Revision | None = None) -> Draft:
    text = KITE.replace("3", str(height))
    return Draft("fix/kite", base, {"kite.yaml": text}, "Lower the kite", "It hit a tree.", expects)


def git(path: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=path, check=True, capture_output=True, text=True).stdout.strip()


async def test_a_proposal_is_a_branch_with_one_keyed_commit(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    commit = await repository.propose(raised(base), key="run-1/pr")
    assert commit.parents == (base,)
    assert commit.paths == ("kite.yaml",)
    assert commit.author == "bot <bot@example.org>"
    assert await repository.head("fix/kite") == commit.revision
    assert await repository.head("main") == base
    body = git(tmp_path, "log", "-1", "--format=%B", "fix/kite")
    assert body == "Lower the kite\n\nIt hit a tree.\n\nHoldfast-Key: run-1/pr"


async def test_the_same_key_gives_the_same_commit(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    first = await repository.propose(raised(base), key="k")
    assert await repository.propose(raised(base), key="k") == first
    assert git(tmp_path, "rev-list", "--count", f"{base}..fix/kite") == "1"


async def test_two_at_once_with_one_key_make_one_commit(tmp_path: Path) -> None:
    """Both may build a commit; the reference moves once, and who loses finds the winner by the key."""
    repository, base = await seeded(tmp_path)
    results = await asyncio.gather(
        *(repository.propose(raised(base), key="k") for _ in range(4)), return_exceptions=True
    )
    commits = {result.revision for result in results if isinstance(result, Commit)}
    assert len(commits) == 1
    assert all(isinstance(result, Commit | Conflict) for result in results)
    assert (await repository.propose(raised(base), key="k")).revision in commits


async def test_a_second_round_replaces_the_first_on_the_same_branch(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    first = await repository.propose(raised(base, 2), key="round-1")
    second = await repository.propose(raised(base, 1, expects=first.revision), key="round-2")
    assert second.parents == (first.revision,)
    diff = (await repository.diff(base, second.revision)).text
    assert "-  height: 4\n+  height: 1\n" in diff
    assert "height: 2" not in diff


async def test_a_branch_that_moved_is_a_conflict_with_both_heads(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    first = await repository.propose(raised(base), key="round-1")
    other = await repository.record("fix/kite", {"more.yaml": "a: 1\n"}, "By hand", author=ANA)
    with pytest.raises(Conflict) as caught:
        await repository.propose(raised(base, 1, expects=first.revision), key="round-2")
    assert (caught.value.expected, caught.value.seen) == (first.revision, other.revision)
    assert await repository.head("fix/kite") == other.revision


async def test_a_base_that_moved_on_does_not_show_in_the_diff(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    first = await repository.propose(raised(base, 2), key="round-1")
    moved = await repository.record("main", {"other.yaml": "b: 2\n"}, "Unrelated", author=ANA)
    second = await repository.propose(raised(moved.revision, 1, expects=first.revision), key="round-2")
    diff = await repository.diff(moved.revision, second.revision)
    assert "other.yaml" not in diff.text
    assert "+  height: 1\n" in diff.text


async def test_a_proposal_that_changes_nothing_is_rejected(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    with pytest.raises(Rejected, match="expected a change"):
        await repository.propose(raised(base, 4), key="k")


async def test_a_body_that_quotes_a_key_is_not_taken_for_that_effect(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    hostile = Draft("fix/kite", base, {"kite.yaml": "x: 1\n"}, "Title\nHoldfast-Key: b", "Holdfast-Key: b\n\0")
    first = await repository.propose(hostile, key="a")
    second = await repository.propose(raised(base, expects=first.revision), key="b")
    assert second.revision != first.revision


async def test_merge_needs_no_checkout_and_says_who_approved(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    fix = await repository.propose(raised(base), key="pr")
    merge = await repository.merge(
        "fix/kite", fix.revision, into="main", subject="Merge the kite", approved_by="ana", key="merge"
    )
    assert merge.parents == (base, fix.revision)
    assert merge.paths == ("kite.yaml",)
    assert (await repository.files(await repository.head("main")))["kite.yaml"] == KITE
    assert "Approved-by: ana\nHoldfast-Key: merge" in git(tmp_path, "log", "-1", "--format=%B", "main")
    again = await repository.merge(
        "fix/kite", fix.revision, into="main", subject="Merge the kite", approved_by="ana", key="merge"
    )
    assert again == merge


async def test_merge_takes_in_what_others_merged_meanwhile(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    fix = await repository.propose(raised(base), key="pr")
    await repository.record("main", {"kite.yaml": KITE.replace("3", "4").replace("mild", "strong")}, "Wind", author=ANA)
    await repository.record("main", {"other.yaml": "b: 2\n"}, "Other", author=ANA)
    await repository.merge("fix/kite", fix.revision, into="main", subject="Merge", approved_by="ana", key="merge")
    files = await repository.files(await repository.head("main"))
    assert files == {"kite.yaml": KITE.replace("mild", "strong"), "other.yaml": "b: 2\n"}


async def test_merge_of_a_clash_names_the_files_and_moves_nothing(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    fix = await repository.propose(raised(base), key="pr")
    other = await repository.record("main", {"kite.yaml": KITE.replace("3", "9")}, "Other", author=ANA)
    with pytest.raises(Conflict) as caught:
        await repository.merge("fix/kite", fix.revision, into="main", subject="M", approved_by="ana", key="merge")
    assert caught.value.files == ["kite.yaml"]
    assert await repository.head("main") == other.revision


async def test_merge_refuses_a_branch_that_moved_after_the_approval(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    fix = await repository.propose(raised(base), key="pr")
    await repository.record("fix/kite", {"more.yaml": "a: 1\n"}, "By hand", author=ANA)
    with pytest.raises(Conflict, match="fix/kite"):
        await repository.merge("fix/kite", fix.revision, into="main", subject="M", approved_by="ana", key="merge")
    assert await repository.head("main") == base


async def test_a_revert_undoes_a_merge_and_keeps_what_came_later(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    fix = await repository.propose(raised(base), key="pr")
    merge = await repository.merge("fix/kite", fix.revision, into="main", subject="M", approved_by="a", key="merge")
    await repository.record("main", {"later.yaml": "c: 3\n"}, "Later", author=ANA)
    undone = await repository.revert(merge.revision, branch="main", reason="it got worse", key="undo")
    files = await repository.files(await repository.head("main"))
    assert files == {"kite.yaml": KITE.replace("3", "4"), "later.yaml": "c: 3\n"}
    assert undone.subject == 'Revert "M"'
    assert await repository.revert(merge.revision, branch="main", reason="it got worse", key="undo") == undone


async def test_a_revert_of_what_is_gone_or_first_is_rejected(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path)
    await repository.revert(base, branch="main", reason="r", key="undo")
    with pytest.raises(Rejected, match="any more"):
        await repository.revert(base, branch="main", reason="r", key="undo-again")
    first = (await repository.history(base))[-1]
    with pytest.raises(Rejected, match="first commit"):
        await repository.revert(first.revision, branch="main", reason="r", key="undo-first")


async def test_a_clean_checkout_follows_its_branch(tmp_path: Path) -> None:
    repository, fix = await checked_out(tmp_path)
    await repository.merge("fix/kite", fix, into="main", subject="M", approved_by="ana", key="merge")
    assert (tmp_path / "kite.yaml").read_text() == KITE
    assert git(tmp_path, "status", "--porcelain") == ""


async def test_a_checkout_with_changes_in_the_way_stops_the_merge(tmp_path: Path) -> None:
    repository, fix = await checked_out(tmp_path)
    head = await repository.head("main")
    (tmp_path / "kite.yaml").write_text("mine: 1\n")
    with pytest.raises(Conflict, match="commit or stash"):
        await repository.merge("fix/kite", fix, into="main", subject="M", approved_by="ana", key="merge")
    assert await repository.head("main") == head
    assert (tmp_path / "kite.yaml").read_text() == "mine: 1\n"


async def checked_out(path: Path) -> tuple[GitRepository, Revision]:
    git(path, "init", "-q", "-b", "main")
    (path / "kite.yaml").write_text(KITE.replace("3", "4"))
    git(path, "add", ".")
    git(path, "-c", "user.name=Ana", "-c", "user.email=a@example.org", "commit", "-q", "-m", "Add the kite")
    repository = GitRepository(path, identity=BOT)
    fix = await repository.propose(raised(await repository.head("main")), key="pr")
    return repository, fix.revision


async def test_history_tells_who_changed_which_files_when(tmp_path: Path) -> None:
    repository, head = await seeded(tmp_path)
    newest, oldest = await repository.history(head)
    assert (newest.subject, newest.paths, newest.at_s) == ("Fly higher", ("kite.yaml",), 1_700_000_060)
    assert (oldest.author, oldest.paths, oldest.parents) == ("Ana <ana@example.org>", ("kite.yaml", "notes.txt"), ())
    assert [commit.subject for commit in await repository.history(head, paths=("notes.txt",))] == ["Add the kite"]
    assert len(await repository.history(head, commits_max=1)) == 1


async def test_files_are_the_manifests_of_a_revision(tmp_path: Path) -> None:
    repository, head = await seeded(tmp_path)
    oldest = (await repository.history(head))[-1]
    assert await repository.files(oldest.revision) == {"kite.yaml": KITE}


async def test_equal_commits_give_equal_diffs_in_another_clone(tmp_path: Path) -> None:
    repository, base = await seeded(tmp_path / "one")
    fix = await repository.propose(raised(base), key="pr")
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path / "one"), "two")
    git(tmp_path / "two", "config", "diff.noprefix", "true")
    git(tmp_path / "two", "config", "diff.context", "9")
    copy = GitRepository(tmp_path / "two", identity=ANA)
    assert await copy.diff(base, fix.revision) == await repository.diff(base, fix.revision)


@pytest.mark.parametrize("branch", ["-x", "a..b", "", "a b", "x.lock", "a\nb"])
async def test_a_branch_name_that_git_would_not_take_is_invalid(tmp_path: Path, branch: str) -> None:
    repository, _ = await seeded(tmp_path)
    with pytest.raises(InvalidInput, match="git branch"):
        await repository.head(branch)


@pytest.mark.parametrize(
    "path", ["../x.yaml", "/x.yaml", "a/../x.yaml", ".git/config", "a//b.yaml", "", "./x", "a/.GIT/x"]
)
async def test_a_path_that_leads_outside_is_invalid(tmp_path: Path, path: str) -> None:
    repository, base = await seeded(tmp_path)
    with pytest.raises(InvalidInput, match="plain relative"):
        await repository.propose(Draft("fix/kite", base, {path: "a: 1\n"}, "S"), key="k")


@pytest.mark.parametrize("key", ["", " k", "a\nb", "a\x1bb", "k" * 301])
async def test_a_key_that_does_not_fit_a_line_is_invalid(tmp_path: Path, key: str) -> None:
    repository, base = await seeded(tmp_path)
    with pytest.raises(InvalidInput, match="idempotency key"):
        await repository.propose(raised(base), key=key)


async def test_unknown_things_are_named(tmp_path: Path) -> None:
    repository, _ = await seeded(tmp_path / "repository")
    with pytest.raises(NotFound, match="'nowhere'"):
        await repository.head("nowhere")
    with pytest.raises(NotFound, match="0000"):
        await repository.files(Revision("0" * 40))
    with pytest.raises(InvalidInput, match="full id"):
        await repository.files(Revision("--all"))
    with pytest.raises(InvalidInput, match="found none"):
        await GitRepository(tmp_path / "missing", identity=BOT).head("main")


async def test_a_folder_inside_another_repository_is_not_taken_for_it(tmp_path: Path) -> None:
    await seeded(tmp_path)
    (tmp_path / "inner").mkdir()
    with pytest.raises(InvalidInput, match="git repository"):
        await GitRepository(tmp_path / "inner", identity=BOT).head("main")


@pytest.mark.parametrize(("name", "email"), [("", "a@b"), ("A <b>", "a@b"), ("A", "a\nb")])
def test_an_identity_that_git_would_mangle_is_invalid(name: str, email: str) -> None:
    with pytest.raises(InvalidInput, match="git identity"):
        Identity(name, email)


async def test_no_program_that_a_repository_names_is_asked_about_signatures(tmp_path: Path) -> None:
    repository, head = await seeded(tmp_path / "kites.git")
    raw = git(repository.path, "cat-file", "commit", head)
    above, _, below = raw.partition("\n\n")
    mark = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n wsBc\n -----END PGP SIGNATURE-----"
    (tmp_path / "signed").write_text(f"{above}\n{mark}\n\n{below}\n")
    signed = git(repository.path, "hash-object", "-t", "commit", "-w", str(tmp_path / "signed"))
    program, witness = tmp_path / "evil", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {witness}\n")
    program.chmod(0o755)
    git(repository.path, "config", "log.showSignature", "true")
    git(repository.path, "config", "gpg.program", str(program))
    assert (await repository.history(Revision(signed)))[0].subject == "Fly higher"
    assert not witness.exists()
