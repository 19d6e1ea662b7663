"""Where something stands: the innermost place of a thread or a coroutine that a person would look at, and the way
there.

Read from outside, without the help of what is looked at: it may never run again.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

FRAMES_MAX = 25
TEXT_CHARS_MAX = 4_000
_OTHERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Folders of code that is nobody's here: who waits in it is named by his own last step."""


class Place(NamedTuple):
    """`where`: "function (file:line)"; `stack`: the frames around it, innermost first, bounded."""

    where: str = ""
    stack: str = ""

    @property
    def is_waiting(self) -> bool:
        """Whether it is a loop that waits for its sockets."""
        return "(selectors.py:" in self.stack.partition("\n")[0]


def place_of_thread(thread_id: int) -> Place:
    """Where a thread is now."""
    frame = sys._current_frames().get(thread_id)
    try:
        return _place([(each.f_code, each.f_lineno) for each in _outwards(frame)])
    finally:
        del frame  # a frame that is held holds all that its function has


def place_of_coroutine(work: Any) -> Place:
    """Where a coroutine that waits is suspended, through all that it awaits."""
    found: list[tuple[CodeType, int]] = []
    while work is not None and len(found) < FRAMES_MAX:
        frame = getattr(work, "cr_frame", None) or getattr(work, "gi_frame", None) or getattr(work, "ag_frame", None)
        if frame is None:
            break
        found.insert(0, (frame.f_code, frame.f_lineno))
        work = getattr(work, "cr_await", None) or getattr(work, "gi_yieldfrom", None) or getattr(work, "ag_await", None)
    return _place(found)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(FRAMES_MAX):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _place(found: list[tuple[CodeType, int]]) -> Place:
    if not found:
        return Place()
    ours = next((each for each in found if not each[0].co_filename.startswith(_OTHERS)), found[0])
    return Place(_shown(*ours), "\n".join(_shown(*each) for each in found)[:TEXT_CHARS_MAX])


def _shown(code: CodeType, line: int) -> str:
    return f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{line})"
