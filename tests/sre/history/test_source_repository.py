"""Sources as git has them: what runs, what a rollout brought, and what cannot be known."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast import InvalidInput
from holdfast_sre.history.keys import Key
from holdfast_sre.history.running import RunningName
from holdfast_sre.history.sources import Question, SourcePast
from holdfast_sre.local import source_repository
from holdfast_sre.local.git import LATEST_S, Git, GitFailed, Identity
from holdfast_sre.local.source_repository import COMMITS_MAX, SourceRepository
from tests.sre.history.shops import DAY, HOUR, TAKEN_S, Repo, shop_source
from tests.sre.repair.hostile import strings

READER = Identity("Reader", "reader@shop.test")
KNOWN = frozenset({Key("setting", "DB_HOST")})


def source(path: Path, folder: str = "") -> SourceRepository:
    return SourceRepository(Git(path, identity=READER), folder)


def asked(now: str = "", before: str = "", *, since_s: float | None = None) -> Question:
    names = tuple((RunningName(text, "here"),) if text else () for text in (now, before))
    return Question("shop", names[0], names[1], since_s, KNOWN)


def subjects(past: SourcePast) -> list[str]:
    return [each.commit.subject for each in past.commits]


async def test_the_commits_between_what_ran_and_what_runs(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    past = await source(repo.path).past(asked("2.1", "2.0", since_s=TAKEN_S - HOUR))
    assert subjects(past) == ["Say hello", "One name for the database"]
    assert (past.rollout, past.missing, past.upto) == ("2.0 -> 2.1", (), repo.git("rev-parse", "v2.1"))
    changed = past.commits[1]
    assert [(change.told, change.file) for change in changed.keys] == [("DB_HOST -> DATABASE_HOST", "app/settings.py")]
    assert (changed.commit.author, changed.files, changed.commit.paths) == (
        "Jon <jon@shop.test>",
        1,
        ("app/settings.py",),
    )


async def test_without_a_name_the_head_is_looked_at_and_that_is_said(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    past = await source(repo.path).past(asked("7.7", since_s=TAKEN_S - DAY))
    assert subjects(past) == ["Not deployed", "Say hello"]
    assert past.rollout == ""
    assert past.missing == (
        f"source of shop: which commit runs: no tag or commit called 7.7; looked at up to the head, {past.upto[:10]}",
    )


async def test_a_commits_id_in_a_tag_is_known_and_an_annotated_tag_leads_to_its_commit(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    wanted = repo.git("rev-parse", "v2.0")
    repo.git("tag", "-a", "shop/9.0", "-m", "nine", "v2.0")
    for name in (f"main-{wanted[:8]}", wanted, "9.0"):
        assert (await source(repo.path).past(asked(name))).upto == wanted
    repo.git("branch", "deadbee", "v2.1")  # called like an id, and none
    assert (await source(repo.path).past(asked("deadbee"))).missing != ()


async def test_a_merge_counts_as_what_it_brought_when_it_came(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    repo.git("checkout", "--quiet", "-b", "side", "v2.0")
    repo.commit("Old work", {"app/port.py": "listen(8080)\n"}, age_s=6 * DAY)
    repo.git("checkout", "--quiet", "main")
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", age_s=HOUR / 2)
    past = await source(repo.path).past(asked(since_s=TAKEN_S - HOUR))
    assert subjects(past) == ["Merge side"]
    assert [str(change.key) for change in past.commits[0].keys] == ["port 8080"]


async def test_one_folder_of_a_repository_is_one_source(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "mono")
    repo.commit("First", {"shop/a.py": "1\n", "till/a.py": "1\n"}, age_s=DAY)
    repo.commit("Till", {"till/a.py": "TILL_KEY\n"}, age_s=HOUR)
    repo.commit("Both", {"shop/a.py": "SHOP_KEY\n", "till/a.py": "2\n"}, age_s=HOUR / 2)
    past = await source(repo.path, "shop").past(asked())
    assert subjects(past) == ["Both"]
    assert (past.commits[0].files, past.commits[0].commit.paths) == (1, ("shop/a.py",))
    assert [change.key.name for change in past.commits[0].keys] == ["SHOP_KEY"]
    assert await source(repo.path, "till").users("TILL_KEY") == ()
    assert await source(repo.path).users("SHOP_KEY") == ("shop/a.py",)


async def test_a_shallow_clone_says_where_its_history_begins(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    clone = tmp_path / "clone"
    command = ["git", "clone", "--quiet", "--depth=2", f"file://{repo.path}", str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    past = await source(clone).past(asked(since_s=TAKEN_S - 5 * DAY))
    assert subjects(past) == ["Not deployed"]  # of the first one it is not known what it changed
    assert any("shallow, its history begins after all was well" in note for note in past.missing)
    later = await source(clone).past(asked(since_s=TAKEN_S - 1.5 * HOUR))
    assert not any("shallow" in note for note in later.missing)


async def test_renames_binaries_and_removals_are_what_they_are(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "shop")
    body = "".join(f"line {number} with DB_HOST\n" for number in range(30))
    repo.commit("First", {"old.py": body, "picture": b"\0\1\2", "gone.sh": "export SHOP_PORT=1\n"}, age_s=DAY)
    repo.commit("Change", {"old.py": None, "new.py": body, "picture": b"\0\3", "gone.sh": None}, age_s=HOUR)
    (changed,) = (await source(repo.path).past(asked())).commits
    assert (changed.binaries, changed.files) == (1, 4)
    assert [(change.key.name, change.how) for change in changed.keys] == [("SHOP_PORT", "removed")]


async def test_what_is_large_is_cut_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_repository, "DIFF_BYTES_MAX", 20_000)
    repo = Repo(tmp_path / "shop")
    repo.commit("First", {"a": "1\n"}, age_s=2 * DAY)
    repo.commit("Large", {"b": "DB_HOST\n" + "x" * 50_000, "c": "y\n" * (1 << 20)}, age_s=DAY)
    for number in range(COMMITS_MAX + 3):
        repo.git("commit", "--quiet", "--allow-empty", "-m", f"Small {number}", age_s=HOUR - number)
    past = await source(repo.path).past(asked())
    assert len(past.commits) == COMMITS_MAX
    assert any(f"older commits than the last {COMMITS_MAX} were not looked at" in note for note in past.missing)
    large = await source(repo.path).past(asked(repo.git("rev-parse", f"HEAD~{COMMITS_MAX + 3}")))
    assert [each.is_cut for each in large.commits] == [True]
    assert [change.key.name for change in large.commits[0].keys] == ["DB_HOST"]
    assert any("1 large commit" in note for note in large.missing)


_PROGRAMS = ("core.fsmonitor", "diff.external", "core.pager", "gpg.program", "diff.evil.textconv", "core.sshCommand")


async def test_a_hostile_history_is_read_bounded_and_starts_no_program(tmp_path: Path) -> None:
    """What a repository configures is not obeyed, and every text of it is one printable line."""
    repo = Repo(tmp_path / "shop")
    repo.commit("First", {"a": "1\n"}, age_s=2 * DAY)
    texts = [text.replace("\0", "") or "x" for text in strings()[::10]]
    for number, text in enumerate(texts):
        repo.git("commit", "--quiet", "--allow-empty", "-m", text, age_s=HOUR - number)
    odd = "od\x1b[2Jd \n\"name\t\u202e'.py"
    repo.commit("Odd", {odd: f"{texts[0]}\nDB_HOST\n", ".gitattributes": "* diff=evil\n"}, age_s=60)
    _sign(repo)
    witness = tmp_path / "ran"
    program = tmp_path / "evil"
    program.write_text(f"#!/bin/sh\ntouch {witness}\n")
    program.chmod(0o755)
    for key in _PROGRAMS:
        repo.git("config", key, str(program))
    repo.git("config", "log.showSignature", "true")
    repo.git("config", "grep.patternType", "perl")
    past = await source(repo.path).past(asked())
    assert len(past.commits) == len(texts) + 1
    for each in past.commits:
        said = (each.commit.author, each.commit.subject, *each.commit.paths)
        assert all(text.isprintable() and len(text) <= 400 for text in said)
    assert [change.key.name for change in past.commits[0].keys] == ["DB_HOST"]
    assert len(await source(repo.path).users("DB_HOST")) == 1
    assert not witness.exists()


def _sign(repo: Repo) -> None:
    """Give the last commit a signature, which somebody's program would be asked about."""
    raw = repo.git("cat-file", "commit", "HEAD")
    head, _, body = raw.partition("\n\n")
    mark = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n wsBc\n -----END PGP SIGNATURE-----"
    (repo.path.parent / "signed").write_text(f"{head}\n{mark}\n\n{body}\n")
    signed = repo.git("hash-object", "-t", "commit", "-w", str(repo.path.parent / "signed"))
    repo.git("update-ref", "HEAD", signed)


async def test_a_commit_from_beyond_the_calendar_has_a_time_that_can_be_told(tmp_path: Path) -> None:
    repo = shop_source(tmp_path / "shop")
    repo.commit("Far", {"a": "DB_HOST\n"}, age_s=TAKEN_S - 10**14)
    (far, *_) = (await source(repo.path).past(asked())).commits
    assert far.commit.at_s == LATEST_S


async def test_no_commit_and_no_repository_are_told_apart_from_a_fault(tmp_path: Path) -> None:
    Repo(tmp_path / "empty")
    with pytest.raises(InvalidInput, match="with a commit, found none"):
        await source(tmp_path / "empty").past(asked())
    with pytest.raises(InvalidInput):
        await source(tmp_path).past(asked())


async def test_a_long_output_is_cut_and_a_fault_is_told(tmp_path: Path) -> None:
    git = Git(shop_source(tmp_path / "shop").path, identity=READER)
    whole = await git.run("log", "--format=%B")
    assert await git.head_of("log", "--format=%B", bytes_max=1_000_000) == (whole, False)
    assert await git.head_of("log", "--format=%B", bytes_max=10) == (whole[:10], True)
    with pytest.raises(GitFailed, match="exit status"):
        await git.head_of("log", "no-such-thing", bytes_max=10)
