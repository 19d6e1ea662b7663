"""Commit messages and the key in them: made and read by pure functions, since their parts come from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping

from holdfast import InvalidInput

KEY_TRAILER = "Holdfast-Key"
KEY_CHARS_MAX = 300
SUBJECT_CHARS_MAX = 72
BODY_CHARS_MAX = 10_000

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def check_key(key: str) -> str:
    """`key` itself if it can stand in one line of a message. Raises InvalidInput for anything else."""
    if not key or len(key) > KEY_CHARS_MAX or not key.isprintable() or key != key.strip():
        raise InvalidInput(
            f"idempotency key: expected 1 to {KEY_CHARS_MAX} printable signs without blank ends, saw {key[:80]!r}",
            seen=key,
        )
    return key


def message(subject: str, body: str, *, key: str, trailers: Mapping[str, str] | None = None) -> str:
    """A commit message: one line of at most 72 signs, the body, the trailers, and the key as the very last line.

    Only the last line counts as the key, so a body that quotes a ticket cannot pass for another effect.
    """
    named = "".join(f"{name}: {one_line(value)}\n" for name, value in (trailers or {}).items())
    parts = [one_line(subject)[:SUBJECT_CHARS_MAX].rstrip() or "Change", clean(body), f"{named}{KEY_TRAILER}: {key}\n"]
    return "\n\n".join(part for part in parts if part)


def is_keyed(text: str, key: str) -> bool:
    """Whether a commit message carries this key."""
    return text.rstrip("\n").rpartition("\n")[2] == f"{KEY_TRAILER}: {key}"


def one_line(text: str) -> str:
    """`text` without control signs, on one line, single-spaced."""
    return " ".join(_CONTROL.sub("", text).split())


def clean(text: str) -> str:
    """`text` without control signs but line breaks and tabs, bounded, without blank ends."""
    return _CONTROL.sub("", text.replace("\r\n", "\n"))[:BODY_CHARS_MAX].strip()
