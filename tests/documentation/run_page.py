"""Runs the blocks of one page, in order, as a reader would: `python -m tests.documentation.run_page PAGE`.

Python blocks share one namespace and one event loop, and may await at the top. `console run` blocks are commands of
ours (`$ holdfast ...`), each compared with the output below it, where `...` stands for anything. Everything happens in
the current folder, which the caller made for it. Fails with a traceback whose lines are the page's.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from tests.documentation.pages import Block, Page

COMMANDS = ("holdfast", "holdfast-sre")
SECONDS_MAX = 60


@dataclass(frozen=True)
class Command:
    """One `$` line of a console block, and the output that the page shows for it ("" shows nothing, checks nothing)."""

    line: int
    words: tuple[str, ...]
    expected: str


def code_of(block: Block, place: str) -> CodeType:
    """The block compiled, with the page's line numbers."""
    tree = compile(block.text, place, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ast.increment_lineno(tree, block.line - 1)
    code: CodeType = compile(tree, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return code


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        if line.startswith("$ "):
            found.append((number, line[2:], []))
        elif found:
            found[-1][2].append(line)
    return [Command(number, tuple(shlex.split(text)), "\n".join(output).strip()) for number, text, output in found]


def run_command(command: Command, *, place: str, exit_code: int) -> None:
    """Run it and compare. Raises AssertionError: not a command of ours, another exit code, another output."""
    name, *arguments = command.words
    assert name in COMMANDS, f"{place}:{command.line}: expected a command of {COMMANDS}, saw {name!r}"
    program = Path(sys.executable).with_name(name)
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, timeout=SECONDS_MAX)
    seen = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).strip()
    assert done.returncode == exit_code, (
        f"{place}:{command.line}: expected exit code {exit_code}, saw {done.returncode}\n{seen}"
    )
    same = is_shown(command.expected, seen)
    assert same, f"{place}:{command.line}: expected\n{command.expected}\nsaw\n{seen}"


def is_shown(expected: str, seen: str) -> bool:
    """Whether a page's output is what was seen: `...` stands for anything, spaces for spaces, nothing for anything."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return not expected or doctest.OutputChecker().check_output(expected, seen, flags)


def is_run(block: Block) -> bool:
    """Python runs unless it is marked `no-run`; a console block runs if it is marked `run`."""
    return (block.language == "python" and "no-run" not in block.marks) or (
        block.language == "console" and "run" in block.marks
    )


def run(page: Page) -> int:
    """Run the page's blocks; the number of those that ran."""
    namespace: dict[str, object] = sys.modules["__main__"].__dict__
    ran = 0
    with asyncio.Runner() as runner:
        for block in page.blocks():
            if block.language == "python":
                code = code_of(block, page.place)
            if not is_run(block):
                continue
            ran += 1
            if block.language == "console":
                exits = [int(mark.removeprefix("exit=")) for mark in block.marks if mark.startswith("exit=")]
                for command in commands_of(block):
                    run_command(command, place=page.place, exit_code=exits[0] if exits else 0)
            elif code.co_flags & inspect.CO_COROUTINE:
                runner.run(eval(code, namespace))
            else:
                exec(code, namespace)
    return ran


if __name__ == "__main__":
    path = Path(sys.argv[1])
    print(run(Page(path.name, path.read_text("utf-8"))))
