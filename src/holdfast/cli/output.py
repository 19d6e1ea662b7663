"""Where answers go: tables for people, JSON for machines; errors to stderr, in the same two forms."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from rich.console import Console, RenderableType
from rich.text import Text

from holdfast.cli.rules import exit_code
from holdfast.errors import HoldfastError, InvalidInput

Document = TypeVar("Document", bound=msgspec.Struct)

WIDTH_WITHOUT_TERMINAL = 120


class Output:
    """Prints the answer of one command."""

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json
        self._console = console_on(is_error=False)

    @property
    def width(self) -> int:
        """How many columns there are to draw in."""
        return self._console.width

    def lines(self, documents: Sequence[Document], draw: Callable[[Sequence[Document]], RenderableType]) -> None:
        """Several documents: JSON lines, or what `draw` makes of them."""
        if self.is_json:
            for document in documents:
                self.json(document)
        else:
            self.draw(draw(documents))

    def one(self, document: Document, draw: Callable[[Document], RenderableType]) -> None:
        """One document: a JSON object in one line, or what `draw` makes of it."""
        if self.is_json:
            self.json(document)
        else:
            self.draw(draw(document))

    def json(self, document: object) -> None:
        """A JSON value in one line."""
        self.text(msgspec.json.encode(document).decode() + "\n")

    def draw(self, what: RenderableType) -> None:
        """Something for people."""
        self._console.print(what)

    def flow(self, line: Text) -> None:
        """One line of a stream, however long: the terminal folds it."""
        self._console.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """A remark for people, beside the answer."""
        if not self.is_json:
            console_on(is_error=True).print(text, soft_wrap=True)

    def text(self, text: str) -> None:
        """Text as it is."""
        sys.stdout.write(text)
        sys.stdout.flush()


def report(error: HoldfastError, *, is_json: bool) -> int:
    """Say what went wrong on stderr; the exit code."""
    code = exit_code(error)
    if is_json:
        facts = {"error": type(error).__name__, "message": error.message, "exit_code": code}
        sys.stderr.write(msgspec.json.encode(facts).decode() + "\n")
    else:
        line = Text.assemble((type(error).__name__, "bold red"), " ", error.message)
        console_on(is_error=True).print(line, soft_wrap=True)
    return code


def console_on(*, is_error: bool) -> Console:
    """A console that takes text as it is: as wide as its terminal, or as `COLUMNS` says, or as a table in a file."""
    console = Console(stderr=is_error, highlight=False, emoji=False, markup=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def write_picture(path: Path, svg: str) -> None:
    """Write a picture to a file. Raises InvalidInput where it cannot be written."""
    try:
        path.write_text(svg, "utf-8")
    except OSError as error:
        raise InvalidInput(f"--svg: expected a file that can be written, saw {path}: {error}") from error
