"""What a value has to be: it passes through JSON by its type, on the way in and on the way out.

So no two agents ever share a thing that one of them could change, and what fits today fits after a restart.
"""

from __future__ import annotations

from typing import Any

import msgspec

from holdfast import codec
from holdfast.errors import InvalidDefinition, InvalidInput, Rejected


class InvalidOutput(Rejected, ValueError):
    """What an agent gave does not fit the type that it promises. `agent` names it, `expected` the type."""


class Shape:
    """A type that values are fitted to: a dataclass, a msgspec struct, a pydantic model, plain types; Any: whatever
    JSON can hold, as dicts and lists."""

    __slots__ = ("_validate", "kind")

    def __init__(self, kind: Any, *, what: str) -> None:
        self.kind = kind
        self._validate = getattr(kind, "model_validate_json", None) if isinstance(kind, type) else None
        if self._validate is None:
            try:
                msgspec.json.Decoder(kind)
            except TypeError as error:
                raise InvalidDefinition(
                    f"{what}: expected a dataclass, msgspec struct, pydantic model or plain types, "
                    f"saw {kind!r}: {error}"
                ) from error

    def fit(self, value: object, *, what: str) -> Any:
        """`value` as this type, sharing nothing with what was given. Raises InvalidInput, naming the path."""
        dump = getattr(value, "model_dump", None)
        body = codec.encode(value if dump is None else dump(mode="json"), what=what)
        if self._validate is None:
            return codec.decode(body, self.kind, what=what)
        try:
            return self._validate(body)
        except ValueError as error:  # pydantic's own is one
            raise InvalidInput(
                f"{what}: expected {self.kind.__name__}, saw something else: {error}", what=what
            ) from error

    def __repr__(self) -> str:
        return f"Shape({self.kind!r})"
