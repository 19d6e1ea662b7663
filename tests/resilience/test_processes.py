"""Real processes on a real PostgreSQL: a quorum opens, a process is killed, one of the others probes for all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

PATIENCE_S = 20.0


class Process:
    """One process of `caller`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def say(self, *words: str) -> dict[str, Any]:
        """Tell it to do something; how it stands behind that."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))


@contextmanager
def started(url: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "tests.resilience.caller", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            opened = Process(process)
            opened.say("look")  # the first one makes the schema
            yield opened
        finally:
            process.kill()


def until(is_so: Callable[[], bool]) -> None:
    """A look costs a round trip through another process, so this does not spin."""
    until_s = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until_s, f"not so after {PATIENCE_S} s"


@pytest.mark.external
@pytest.mark.slow
def test_processes_agree_and_one_probes_for_all_though_one_is_killed(empty_database: str) -> None:
    with ExitStack() as exit:
        one, two, three = (exit.enter_context(started(empty_database)) for _ in range(3))
        for process in (one, two, three):
            process.say("break")
        one.say("call", "6")
        assert three.say("look")["state"] == "closed"
        two.say("call", "6")
        until(lambda: three.say("look")["state"] == "open")
        told = three.say("look")
        assert told["calls"] == 0, "it opened by its own calls"
        one.process.kill()
        one.process.wait()
        for process in (two, three):
            process.say("mend")
        until(lambda: all(each.say("look")["state"] == "closed" for each in (two, three)))
        assert two.say("look")["well"] + three.say("look")["well"] == 3, "three permits, and two that probe"
