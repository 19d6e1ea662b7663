"""The program in which one call of a tool runs: limits first, then the tool's module, then the call, then an end.

Started by path, so that nothing of holdfast is imported but what the tool's own module imports. It reads two lines of
JSON from its parent, the job and the arguments, and writes one to what was its standard output; whatever the tool
prints goes to standard error. When its parent is gone, so is it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import resource
import runpy
import signal
import sys
import threading
import typing
from typing import Any

import msgspec


def main() -> None:
    """One call, from the lines of standard input to one line of output."""
    answer = os.dup(1)
    os.dup2(2, 1)
    job = json.loads(sys.stdin.buffer.readline())
    _limit(job)
    try:
        body = _encoded({"ok": _call(job)})
    except MemoryError:
        body = _encoded({"failed": "MemoryError", "text": ""})
    except BaseException as error:
        body = _encoded({"failed": type(error).__name__, "text": str(error)[:2000]})
    if len(body) > job["output_bytes_max"]:
        body = _encoded({"failed": "output", "text": str(len(body))})
    _write(answer, body)
    os._exit(0)


def _limit(job: dict[str, Any]) -> None:
    for what, value in (
        (resource.RLIMIT_AS, job["memory_mib_max"] * 1024 * 1024),
        (resource.RLIMIT_CPU, int(job["timeout_s"]) + 2),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):  # a machine that cannot: the parent's clock and SIGKILL remain
            continue


def _call(job: dict[str, Any]) -> Any:
    sys.path[:] = job["path"]
    if job["file"]:
        found: Any = runpy.run_path(job["file"], run_name="__tool__")[job["name"]]
    else:
        found = importlib.import_module(job["module"])
        for part in job["name"].split("."):
            found = getattr(found, part)
    body = getattr(found, "body", found)
    hints = typing.get_type_hints(body, include_extras=True)
    raw = msgspec.json.decode(sys.stdin.buffer.readline(), type=dict[str, msgspec.Raw])
    arguments = {name: msgspec.json.decode(value, type=hints[name]) for name, value in raw.items()}
    threading.Thread(target=_end_with_parent, daemon=True).start()
    result = body(**arguments)
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result


def _end_with_parent() -> None:
    """Nothing more is sent; the end of the pipe is the end of the parent."""
    os.read(0, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _encoded(line: dict[str, Any]) -> bytes:
    return msgspec.json.encode(line)


def _write(handle: int, body: bytes) -> None:
    while body:
        body = body[os.write(handle, body) :]


if __name__ == "__main__":
    main()
