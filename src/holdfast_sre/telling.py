"""Lines for people: whole in a file, so that they can be searched; in a terminal folded between their words."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text


def tell(console: Console, before: Text, text: Text) -> None:
    """Print one line, `before` saying what it is, or when. What does not fit stands below the beginning of `text`."""
    if not console.is_terminal:
        console.print(Text.assemble(before, text), soft_wrap=True)
        return
    row = Table.grid()
    row.add_column(no_wrap=True)
    row.add_column(overflow="fold")
    row.add_row(before, text)
    console.print(row)
