"""Turns at one file: fair, with a name, and given back by whoever came too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.errors import Unavailable
from holdfast.store.sqlite.turn import Turn

PATIENCE_S = 20.0
COMMIT_S = 0.0002


@contextmanager
def turns(path: Path, *names: str, timeout_s: float = PATIENCE_S) -> Iterator[list[Turn]]:
    made = [Turn(path, name=name, timeout_s=timeout_s) for name in names]
    try:
        yield made
    finally:
        for turn in made:
            turn.close()


def test_one_at_a_time_and_named(tmp_path: Path) -> None:
    with turns(tmp_path / "db", "process 1", "process 2", timeout_s=0.05) as (one, two):
        one.acquire()
        with pytest.raises(Unavailable, match=r"did not come in 0.05 s, held by process 1;") as caught:
            two.acquire()
        assert caught.value.holder == "process 1"
        one.release()
        two.acquire()
        assert one.holder() == "process 2"
        two.release()


def test_turn_that_came_too_late_is_given_back(tmp_path: Path) -> None:
    """Who gave up waiting must not keep the lock when it comes in the end."""
    with turns(tmp_path / "db", "one", "late", timeout_s=0.05) as (one, late):
        one.acquire()
        with pytest.raises(Unavailable):
            late.acquire()
        one.release()
        with turns(tmp_path / "db", "third") as (third,):
            third.acquire()
            third.release()
        late.acquire()
        late.release()


def test_who_waits_again_keeps_his_place(tmp_path: Path) -> None:
    with turns(tmp_path / "db", "one", "two", timeout_s=0.05) as (one, two):
        one.acquire()
        for _ in range(3):
            with pytest.raises(Unavailable):
                two.acquire()
        threads = [thread for thread in threading.enumerate() if thread.name == "holdfast-turn"]
        assert len(threads) == 1, "one thread waits, however often it is asked for"
        one.release()
        two.acquire()
        two.release()


def test_a_busy_one_lets_the_others_in(tmp_path: Path) -> None:
    """Two that want it all the time, each as long as a commit takes, get it about equally often."""
    counts = {"one": 0, "two": 0}
    start, never = threading.Barrier(2), threading.Event()

    def work(turn: Turn, name: str) -> None:
        start.wait()
        while sum(counts.values()) < 400:
            turn.acquire()
            counts[name] += 1
            never.wait(COMMIT_S)
            turn.release()

    with turns(tmp_path / "db", "one", "two") as made:
        threads = [threading.Thread(target=work, args=(turn, name)) for turn, name in zip(made, counts, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert min(counts.values()) > 100, counts


def test_closing_while_one_waits_leaves_nothing_behind(tmp_path: Path) -> None:
    with turns(tmp_path / "db", "one", "two", timeout_s=0.05) as (one, two):
        one.acquire()
        with pytest.raises(Unavailable):
            two.acquire()
    with turns(tmp_path / "db", "three") as (three,):
        three.acquire()
        three.release()
