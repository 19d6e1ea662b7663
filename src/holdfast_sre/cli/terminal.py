"""How the bot's commands meet people: consoles, texts from outside made safe, errors as one line and an exit code."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.text import Text

from holdfast import CommitUnknown, Corrupt, HoldfastError, InvalidInput, Unavailable

T = TypeVar("T")

CLOSED, NOT_REPAIRED, BAD_INPUT, NOT_NOW, CORRUPT, UNKNOWN, STOPPED = 0, 1, 2, 3, 4, 5, 130
"""Exit codes, with the meaning that they have for `holdfast`. 1: people have to go on, or a rule says no. 3: it waits
for somebody, or something is away; the same call may do more later."""

WIDTH_WITHOUT_TERMINAL = 120


def console_on(*, is_error: bool = False) -> Console:
    """A console as wide as its terminal, or as `COLUMNS` says, or wide enough for a file."""
    console = Console(stderr=is_error, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def command_name(name: str = "holdfast-sre") -> str:
    """How a program of ours is called from here: by its name, or by its path where no PATH leads to it."""
    beside = Path(sys.executable).with_name(name)
    return name if shutil.which(name) or not beside.exists() else str(beside)


def printable(text: str) -> str:
    """Untrusted text that moves no cursor, changes no colour and turns no line around: other signs become "?"."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "?" for sign in text)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do the work in a loop of its own. What goes wrong on purpose becomes one line on stderr and an exit code."""
    try:
        return asyncio.run(work)
    except HoldfastError as error:
        fail(error)
    except OSError as error:
        if error.filename is None:
            raise
        fail(InvalidInput(f"{error.filename}: {error.strerror}"))
    except KeyboardInterrupt:
        told = f"\nStopped. What was done stays done; `{command_name()} run WORKSPACE` goes on."
        console_on(is_error=True).print(told, soft_wrap=True, markup=False)
        raise typer.Exit(STOPPED) from None


async def typed_line(question: str) -> str:
    """What somebody types after the question, "" at the end of input. Can be cancelled; a thread cannot."""
    console_on().print(Text(question, style="bold"), end=" ")
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip()


def fail(error: HoldfastError) -> NoReturn:
    """Say what went wrong and end."""
    told = Text.assemble((type(error).__name__, "bold red"), " ", printable(error.message))
    console_on(is_error=True).print(told, soft_wrap=True)
    raise typer.Exit(exit_code(error)) from None


def exit_code(error: HoldfastError) -> int:
    """The exit code that an error ends a command with."""
    match error:
        case Corrupt():
            return CORRUPT
        case CommitUnknown():
            return UNKNOWN
        case Unavailable():
            return NOT_NOW
        case InvalidInput():
            return BAD_INPUT
        case _:
            return NOT_REPAIRED
