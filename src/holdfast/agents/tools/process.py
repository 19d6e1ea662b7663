"""A call in a program of its own, which is killed with all that it started when its time is over or nobody waits.

What it may use is bounded by the system: memory and processor time by `setrlimit`, its life by SIGKILL to its group.
It sees none of this process's memory, connections or credentials. That bounds mistakes; code that means harm needs a
container.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from holdfast import codec
from holdfast.agents.tools.rules import ToolFailed, words
from holdfast.agents.tools.tool import Tool
from holdfast.errors import ErrorType

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT")
"""What every program needs of its environment; a tool names what else it needs."""
CHILD = Path(__file__).with_name("child.py")
STDERR_BYTES_MAX = 4096
READ_BYTES = 64 * 1024
ANSWER_OVERHEAD_BYTES = 4096


async def run_in_process(tool: Tool, arguments: Mapping[str, Any], *, timeout_s: float) -> bytes:
    """The JSON of what `tool` gives, within `timeout_s` seconds of its start. Raises ToolFailed.

    However it ends, cancelled too, no process is left behind.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-tool-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-X", "utf8", str(CHILD)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env={name: os.environ[name] for name in (*KEPT, *tool.environment) if name in os.environ},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                body, said = await _conversation(process, tool, arguments)
        except TimeoutError as error:
            raise ToolFailed(
                f"tool {tool.name}: took longer than {timeout_s:.3g} s and was killed",
                tool=tool.name,
                error_type=ErrorType.TIMEOUT,
            ) from error
        finally:
            await _end(process)
    return _result(tool, body, said, process.returncode)


async def _conversation(
    process: asyncio.subprocess.Process, tool: Tool, arguments: Mapping[str, Any]
) -> tuple[bytes, bytes]:
    """What it answered and the last of what it printed. Its input stays open: its end would tell it to end."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    printed = bytearray()
    async with asyncio.TaskGroup() as group:
        group.create_task(_tail(process.stderr, printed))
        try:
            process.stdin.write(_job(tool) + b"\n" + codec.canonical(arguments) + b"\n")
            await process.stdin.drain()
        except ConnectionError:  # it died before it read everything: what it printed says why
            return b"", bytes(printed)
        body = await _bounded(process.stdout, tool.output_bytes_max + ANSWER_OVERHEAD_BYTES)
        _kill(process)  # it answered; what it started, and left running, would keep the other pipe open
    return body, bytes(printed)


async def _bounded(stream: asyncio.StreamReader, bytes_max: int) -> bytes:
    """All of a stream; of one that is longer, enough to see that."""
    parts = bytearray()
    while len(parts) <= bytes_max and (part := await stream.read(READ_BYTES)):
        parts += part
    return bytes(parts)


async def _tail(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while part := await stream.read(READ_BYTES):
        kept += part
        del kept[:-STDERR_BYTES_MAX]


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):  # all of its group ended by itself
        os.killpg(process.pid, signal.SIGKILL)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of its group, and see it off."""
    _kill(process)
    if process.stdin is not None:
        process.stdin.close()
    await asyncio.shield(process.wait())


def _job(tool: Tool) -> bytes:
    module = tool.body.__module__
    main_file = getattr(sys.modules.get("__main__"), "__file__", None) if module == "__main__" else None
    return codec.canonical(
        {
            "path": [os.path.abspath(entry) for entry in sys.path],
            "module": module,
            "file": str(Path(main_file).resolve()) if main_file else "",
            "name": tool.body.__qualname__,
            "memory_mib_max": tool.memory_mib_max,
            "output_bytes_max": tool.output_bytes_max,
            "timeout_s": tool.timeout_s,
        }
    )


def _result(tool: Tool, body: bytes, said: bytes, returncode: int | None) -> bytes:
    try:
        answer = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError as error:
        raise _died(tool, said, returncode, len(body)) from error
    if "ok" in answer:
        return bytes(answer["ok"])
    raised, text = msgspec.json.decode(answer["failed"], type=str), msgspec.json.decode(answer["text"], type=str)
    if raised == "MemoryError":
        raise _too_much(tool, f"more than its {tool.memory_mib_max} MiB of memory")
    if raised == "output":
        raise _too_large(tool, text)
    raise ToolFailed(f"tool {tool.name}: raised {raised}: {words(text)}", tool=tool.name, raised=raised)


def _died(tool: Tool, said: bytes, returncode: int | None, answered: int) -> ToolFailed:
    if answered > tool.output_bytes_max:
        return _too_large(tool, str(answered))
    if returncode == -signal.SIGXCPU:
        return _too_much(tool, "more processor time than its timeout")
    how = (
        f"was killed by signal {-returncode}" if returncode is not None and returncode < 0 else f"ended ({returncode})"
    )
    last = words(said.decode(errors="replace"))
    if "MemoryError" in last:
        return _too_much(tool, f"more than its {tool.memory_mib_max} MiB of memory")
    return ToolFailed(
        f"tool {tool.name}: its process {how} without an answer; it said last: {last or 'nothing'}",
        tool=tool.name,
        error_type=ErrorType.RESOURCE,
    )


def _too_much(tool: Tool, what: str) -> ToolFailed:
    return ToolFailed(f"tool {tool.name}: used {what}", tool=tool.name, error_type=ErrorType.RESOURCE)


def _too_large(tool: Tool, seen: str) -> ToolFailed:
    return ToolFailed(
        f"tool {tool.name}: expected at most {tool.output_bytes_max} bytes of output, saw {seen}; give a part, or a "
        "link to where it is",
        tool=tool.name,
        error_type=ErrorType.RESOURCE,
    )
