"""The model that is not there, and files that crashes and neighbours cannot tear."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from pathlib import Path

import pytest

from holdfast import InvalidInput, Unavailable
from holdfast_sre.files import exclusively, read_text, replace_text
from holdfast_sre.local.model import NoModel, admit
from holdfast_sre.ports import ModelAnswer, ModelRequest

QUESTION = ModelRequest("which cause", ("a", "b"), by_rules="b")


async def test_without_a_model_the_rules_decide() -> None:
    answer = await NoModel().choose(QUESTION, key="k")
    assert (answer.choice, answer.source, answer.input_tokens) == ("b", "rules", 0)


async def test_a_question_must_offer_the_rules_answer() -> None:
    with pytest.raises(InvalidInput, match="among the choices"):
        await NoModel().choose(ModelRequest("t", ("a",), by_rules="c"), key="k")


def test_a_model_prefers_and_never_invents() -> None:
    assert admit(QUESTION, ModelAnswer("a", "model")).choice == "a"
    invented = admit(QUESTION, ModelAnswer("drop the database", "model", input_tokens=9))
    assert (invented.choice, invented.source, invented.input_tokens) == ("b", "rules", 9)


def test_replacing_a_file_keeps_its_mode_and_leaves_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    replace_text(path, "one")
    path.chmod(0o600)
    replace_text(path, "two\r\n")
    assert path.read_bytes() == b"two\r\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_failed_replacement_leaves_the_old_text_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    replace_text(path, "one")
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, "\ud800")
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_reading_is_bounded_and_wants_text(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        read_text(tmp_path / "big", bytes_max=10)
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_text(tmp_path / "odd", bytes_max=10)


async def test_a_lock_that_another_holds_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="still held"):
            await exclusively(tmp_path / "lock", lambda: 1, wait_s_max=0.05)
    assert await exclusively(tmp_path / "lock", lambda: 2) == 2


async def test_cancelled_work_keeps_the_lock_until_its_end(tmp_path: Path) -> None:
    """The thread cannot be stopped, so the next one must wait for it."""
    order: list[str] = []
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        began.set()
        go_on.wait(5)
        order.append("slow")

    first = asyncio.ensure_future(exclusively(tmp_path / "lock", slow))
    await asyncio.get_running_loop().run_in_executor(None, began.wait, 5)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.ensure_future(exclusively(tmp_path / "lock", lambda: order.append("second")))
    await asyncio.sleep(0)
    assert order == []
    go_on.set()
    await second
    assert order == ["slow", "second"]


async def test_an_error_in_the_work_is_raised_and_frees_the_lock(tmp_path: Path) -> None:
    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await exclusively(tmp_path / "lock", broken)
    assert await exclusively(tmp_path / "lock", lambda: 3, wait_s_max=0.05) == 3
