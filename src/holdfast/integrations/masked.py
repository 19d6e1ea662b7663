"""Payloads for people who may look and decide, but not see everything: named fields and patterns are masked.

What is stored is whole, sealed by the codec inside; what is shown has masks. A mask that comes back, because an
operator cancels a run or sends a signal, is exchanged for what it stands for: so nothing is lost by deciding.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from holdfast import About, CannotOpen, Codec, InvalidInput, Rejected

MASKS_MAX = 100_000
"""Masks that one process remembers; beyond them the oldest go, and what has them cannot be written any more."""
PAYLOADS = frozenset({"data", "input", "facts", "metadata"})
"""Fields of the engine's records below which a user's values stand. What stands beside them is the engine's own: ids,
names of signals, states. Nothing of it is masked, or it could not work."""
TEXTS = frozenset({"message", "reason"})
"""Fields of the engine's records that hold what somebody wrote: patterns are looked for, names are not."""
WHOLE = frozenset({"memo", "state"})
"""Kinds of records whose body is a user's value, all of it."""
CHUNKS = "blob"

_MASK = re.compile(r"\*\*\*[0-9a-f]{8}")


class Masked:
    """A codec that shows masks in place of values, around one that seals. `fields`: names of keys of JSON objects, at
    any depth of data, inputs, results and signals' data, in any case; `patterns`: regular expressions, looked for in
    the texts there and in messages of errors.

    A mask is `***` and eight digits, the same for the same value within a process. What is kept in chunks (an input
    above 256 KiB) is not shown at all. Payloads that were written before there was a codec pass no codec and are shown
    as they are. Give it to operators' programs, with no code of workflows (`--app`) where a masked field is no text;
    the engines that work have the codec inside alone, or their handlers would see masks.

    Example: `for_operators = Masked(codec, fields=["password", "iban"], patterns=[r"[\\w.]+@[\\w.]+"])`.
    """

    def __init__(self, codec: Codec, *, fields: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._codec = codec
        self._fields = frozenset(name.lower() for name in fields)
        try:
            given = [re.compile(pattern) for pattern in patterns]
        except re.error as error:
            raise InvalidInput(f"masked: expected regular expressions, saw {error.pattern!r}: {error}") from error
        if not self._fields and not given:
            raise InvalidInput("masked: expected fields or patterns to mask, saw none")
        if wrong := [pattern.pattern for pattern in given if pattern.match("")]:
            raise InvalidInput(f"masked: expected patterns that match something, saw {wrong}, which match nothing too")
        self._patterns = given
        self._values: dict[str, Any] = {}
        self._masks: dict[str, str] = {}

    def encode(self, data: bytes, about: About) -> bytes:
        """Sealed, with what the masks stand for. Raises Rejected for a mask that this process did not make."""
        if b"***" in data:
            data = _dumped(_walked(json.loads(data), self._unmasked))
        return self._codec.encode(data, about)

    def decode(self, data: bytes, about: About) -> bytes:
        """Opened and masked. Raises CannotOpen."""
        opened = self._codec.decode(data, about)
        if about.kind == CHUNKS:
            raise CannotOpen(
                f"{about.part} {about.kind} {about.id}: it is part of a big value, in which nothing can be "
                "masked; look at it with a codec that has no masks"
            )
        return _dumped(self._shown(json.loads(opened), is_payload=about.kind in WHOLE))

    def _shown(self, value: Any, *, is_payload: bool) -> Any:
        if isinstance(value, dict):
            return {key: self._field(key, item, is_payload) for key, item in value.items()}
        if isinstance(value, list):
            return [self._shown(item, is_payload=is_payload) for item in value]
        return self._text(value) if is_payload and isinstance(value, str) else value

    def _field(self, key: str, value: Any, is_payload: bool) -> Any:
        if is_payload and key.lower() in self._fields and value is not None:
            return self._mask_for(value)
        if not is_payload and key in TEXTS and isinstance(value, str):
            return self._text(value)
        return self._shown(value, is_payload=is_payload or key in PAYLOADS)

    def _text(self, text: str) -> str:
        """The text with a mask for each match; what only looks like a mask gets one, too, and comes back as it was."""
        text = _MASK.sub(lambda found: self._mask_for(found[0]), text)
        for pattern in self._patterns:
            text = self._outside_masks(text, pattern)
        return text

    def _outside_masks(self, text: str, pattern: re.Pattern[str]) -> str:
        parts, at = [], 0
        for mask in _MASK.finditer(text):
            parts += [self._matched(text[at : mask.start()], pattern), mask[0]]
            at = mask.end()
        return "".join([*parts, self._matched(text[at:], pattern)])

    def _matched(self, text: str, pattern: re.Pattern[str]) -> str:
        return pattern.sub(lambda found: self._mask_for(found[0]), text)

    def _mask_for(self, value: Any) -> str:
        known = _dumped(value).decode()
        mask = self._masks.get(known)
        if mask is None:
            mask = f"***{os.urandom(4).hex()}"
            while mask in self._values:
                mask = f"***{os.urandom(4).hex()}"
            if len(self._values) >= MASKS_MAX:
                del self._masks[_dumped(self._values.pop(next(iter(self._values)))).decode()]
            self._masks[known], self._values[mask] = mask, value
        return mask

    def _unmasked(self, text: str) -> Any:
        if _MASK.fullmatch(text):
            return self._value_of(text)
        return _MASK.sub(lambda found: str(self._value_of(found[0])), text)

    def _value_of(self, mask: str) -> Any:
        if mask not in self._values:
            raise Rejected(
                f"masked: expected masks that this process shows, saw {mask}; what it stands for is not known here, so "
                "nothing was written: send the value itself, or use a codec without masks"
            )
        return self._values[mask]

    def __repr__(self) -> str:
        return f"Masked({self._codec!r}, fields={sorted(self._fields)}, patterns={len(self._patterns)})"


def _walked(value: Any, change: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _walked(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_walked(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
