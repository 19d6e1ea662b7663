"""The tools of the tests. At the top of a module, so that a process of their own can import them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec

from holdfast import UserExecutionContext, tool


@dataclass
class Ticket:
    number: int
    title: str


@tool(scope="tickets:read", timeout_s=5)
async def find_ticket(number: Annotated[int, msgspec.Meta(ge=1, description="the ticket's number")]) -> Ticket:
    """The ticket of this number."""
    return Ticket(number, f"ticket {number}")


@tool
async def whose(*, context: UserExecutionContext) -> str:
    return context.user


@tool
def later(at: datetime, hours: int = 1) -> datetime:
    """Runs in a process: what it takes and gives crosses by its types."""
    return at.replace(hour=at.hour + hours)


@tool
def shout(tickets: list[Ticket]) -> list[Ticket]:
    print("what a tool prints is not what it gives")
    return [Ticket(ticket.number, ticket.title.upper()) for ticket in tickets]


@tool(timeout_s=0.5)
def never_returns() -> None:
    while True:
        time.sleep(60)


@tool(timeout_s=60)
def leaves_children(pids: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(pids).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(600)


@tool
def answers_and_leaves_a_child(pids: str) -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(pids).write_text(str(child.pid))
    return child.pid


@tool(memory_mib_max=128, timeout_s=20)
def allocates_without_end() -> int:
    held = []
    while True:
        held.append(bytearray(8 * 1024 * 1024))


@tool(output_bytes_max=1000)
def says_too_much() -> str:
    return "a" * 100_000


@tool
def dies() -> None:
    print("last words", file=sys.stderr, flush=True)
    os._exit(3)


@tool
def raises() -> None:
    raise LookupError("no such thing\x1b[31m\n" + "x" * 5000)


@tool(environment=("HOLDFAST_TEST_ALLOWED",))
def sees(name: str) -> str | None:
    return os.environ.get(name)


@tool
def gives_the_wrong_thing() -> int:
    return "seven"  # type: ignore[return-value]
