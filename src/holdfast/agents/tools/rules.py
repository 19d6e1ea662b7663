"""Who may call what, and what an earlier call with the same key means. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any, Literal, NamedTuple

from holdfast.errors import Conflict, ErrorType, HoldfastError, NotFound, Rejected, Unavailable, WorkflowError

Outcome = Literal["began", "done", "failed", "refused"]
TEXT_CHARS_MAX = 500
"""Bound on the text of an error that a tool raised, and on one argument as the record shows it."""
GRACE_S = 5.0
"""How long after its time a call whose process said nothing more is taken for dead."""
HIDDEN = "***"


class ToolFailed(WorkflowError):
    """A tool was called and did not do it. `tool` names it; `error_type` says why: TIMEOUT, RESOURCE (it used more than
    it may), VALIDATION (what it gave does not fit), EXTERNAL (it raised: `raised` names the error)."""

    def __init__(self, message: str, *, tool: str, error_type: ErrorType = ErrorType.EXTERNAL, **facts: Any) -> None:
        super().__init__(message, error_type=error_type, tool=tool, **facts)


class Earlier(NamedTuple):
    """A call with the same key, as its record tells: when its time is over, and what its arguments were (a digest)."""

    outcome: Outcome
    digest: str
    over_at: float


def why_refused(tool: str, scope: str, *, names: Collection[str], scopes: frozenset[str]) -> HoldfastError | None:
    """Why somebody with `scopes` may not call `tool`, whose own scope is `scope` ("": anybody); None if he may.

    `names`: the tools that he may call. One that is not there and one that is not his look the same but for the scope.
    """
    if tool in names:
        return None
    known = ", ".join(sorted(names)) or "none"
    if scope:
        return Rejected(
            f"tool {tool}: expected the scope {scope!r}, saw {sorted(scopes)}; he may call: {known}", tool=tool
        )
    return NotFound(f"tool {tool}: there is no such tool; he may call: {known}", tool=tool)


def judge_earlier(tool: str, earlier: Earlier | None, digest: str, now_s: float) -> Literal["run", "give"]:
    """What a call means that has the key of an `earlier` one: run it, or give what that gave.

    Raises Conflict for other arguments under the same key, Unavailable while the earlier one may still run. One that
    failed, or whose process said nothing more when its time was over, is run again with the same key.
    """
    if earlier is None:
        return "run"
    if earlier.digest != digest:
        raise Conflict(
            f"tool {tool}: expected the arguments of the earlier call with this key, saw others; give another key",
            tool=tool,
        )
    if earlier.outcome == "done":
        return "give"
    if earlier.outcome == "began" and now_s < earlier.over_at:
        raise Unavailable(
            f"tool {tool}: a call with this key is under way; ask again in {earlier.over_at - now_s:.3g} s",
            tool=tool,
            retry_after_s=earlier.over_at - now_s,
        )
    return "run"


def digest_of(body: bytes) -> str:
    """Of a call's arguments in their one canonical form: 32 hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()[:32]


def shown(arguments: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """Arguments as the record keeps them: hidden ones masked, long texts cut."""
    return {name: HIDDEN if name in hidden else _cut(value) for name, value in arguments.items()}


def words(text: str) -> str:
    """Text from outside, on one line of printable signs, cut."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 4 * TEXT_CHARS_MAX]).split())
    return line if len(line) <= TEXT_CHARS_MAX else line[: TEXT_CHARS_MAX - 1] + "…"


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
        return f"{value[:TEXT_CHARS_MAX]}… ({len(value)} signs)"
    if isinstance(value, dict):
        return {name: _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value
