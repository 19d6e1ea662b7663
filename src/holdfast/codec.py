"""Values to bytes and back: JSON by msgspec, bounded, checked before anything is queued.

Everything that is stored is UTF-8 JSON. A value always passes through encode and decode, on the first run too, so
that a handler sees the same type today and after a restart.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, overload

import msgspec

from holdfast.errors import InvalidInput

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 1024 * 1024
"""Bound on one encoded payload unless configured otherwise: 1 MiB."""

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object, *, what: str = "payload", bytes_max: int = PAYLOAD_BYTES_MAX) -> bytes:
    """`value` as JSON bytes. Raises InvalidInput: not encodable, NaN or infinite, NUL in text, cyclic, too large."""
    try:
        data = _encoder.encode(value)
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInput(
            f"{what}: expected a value that JSON can hold, saw {type(value).__name__}: {error}", what=what
        ) from error
    _check_size(data, what, bytes_max)
    if b"\\u0000" in data and _has_nul(msgspec.json.decode(data)):
        raise InvalidInput(f"{what}: expected text without NUL (U+0000), saw one", what=what)
    if b"null" in data and _has_odd_float(value):
        raise InvalidInput(f"{what}: expected finite numbers, saw NaN or infinity", what=what)
    return data


def encode_again(value: object, *, what: str, bytes_max: int) -> bytes:
    """As `encode`, for a value that was decoded from JSON a moment ago: only its size can still be wrong."""
    data = _encoder.encode(value)
    _check_size(data, what, bytes_max)
    return data


def canonical(value: object) -> bytes:
    """The one JSON form of a value, keys sorted: what digests are taken over."""
    return _canonical.encode(value)


@overload
def decode(data: bytes | msgspec.Raw, kind: type[T], *, what: str = ...) -> T: ...


@overload
def decode(data: bytes | msgspec.Raw, kind: Any = ..., *, what: str = ...) -> Any: ...


def decode(data: bytes | msgspec.Raw, kind: Any = Any, *, what: str = "payload") -> Any:
    """The value of JSON bytes as `kind` (any annotation msgspec knows). Raises InvalidInput, naming the path."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InvalidInput(f"{what}: expected {kind}, saw something else: {error}", what=what) from error


def plain(value: object) -> Any:
    """`value` as dicts, lists, text and numbers: what its JSON decodes to."""
    return msgspec.json.decode(_encoder.encode(value))


def _check_size(data: bytes, what: str, bytes_max: int) -> None:
    if len(data) > bytes_max:
        raise InvalidInput(
            f"{what}: expected at most {bytes_max} bytes, saw {len(data)}; store big things elsewhere and keep a link",
            what=what,
            bytes_max=bytes_max,
            bytes_seen=len(data),
        )


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


def _has_odd_float(value: object) -> bool:
    """msgspec writes NaN and infinity as null; refuse that quiet loss. `value` has been encoded, so it is a tree."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, msgspec.Struct):
        return any(_has_odd_float(getattr(value, name)) for name in value.__struct_fields__)
    if isinstance(value, dict):
        return any(_has_odd_float(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_has_odd_float(item) for item in value)
    fields = getattr(value, "__dataclass_fields__", None)
    return bool(fields) and any(_has_odd_float(getattr(value, name)) for name in fields or ())
