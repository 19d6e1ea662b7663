"""What a seal is: a codec, what it is told about the bytes, and how a sealed body is known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from holdfast import codec as json_codec
from holdfast.errors import Corrupt
from holdfast.store.contract.records import SYSTEM_TENANT, Key
from holdfast.store.rows.copies import Copied, original_id

PREFIX = b'"sealed:'
"""What a sealed body begins with: it is a JSON text, as every store wants JSON."""
SEALED_BYTES_MAX = 2 * json_codec.PAYLOAD_BYTES_MAX
"""What the store inside must take as one body: Base64 makes the largest a third longer, and the codec adds its own."""
SEAL = Key(SYSTEM_TENANT, "", "seal", "codec")
"""The record by which a store tells that engines with a codec worked on it."""


RECORD, EVENT = "record", "event"
SNAPSHOT, TOLD = "snapshot", "record"
"""The two fields of a copy that a repair goes by."""

_encoder = msgspec.json.Encoder()
_bytes = msgspec.json.Decoder(bytes)


class About(NamedTuple):
    """What some bytes belong to: associated data, so that they open nowhere else. `part`: "record" or "event"."""

    tenant: str
    user: str
    kind: str
    id: str
    part: str

    def __bytes__(self) -> bytes:
        return json_codec.canonical(list(self))


class Codec(Protocol):
    """Turns payload bytes into payload bytes and back. Must not block: it is called on the loop."""

    def encode(self, data: bytes, about: About) -> bytes: ...

    def decode(self, data: bytes, about: About) -> bytes:
        """What `encode` was given. Raises CannotOpen where the key is missing or wrong, or `about` another."""
        ...


class CannotOpen(Corrupt):
    """A sealed payload does not open: its key is missing or wrong, or it was sealed for something else. `key_id`."""


class Sealer:
    """Bodies sealed and opened by a codec. The system's own hold no payloads, and stay plain.

    A copy of a record (see `copies`) has the sealed body of its original in it, and plain what it tells beside that, so
    that a repair can put the original back without a key.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def seal(self, key: Key, body: bytes, part: str) -> bytes:
        """The body as it is stored: a JSON text, or for a copy an object with such texts in it."""
        if key.tenant == SYSTEM_TENANT:
            return body
        original = _original_of(key)
        if original is None or part != RECORD or (fields := _copied(body)) is None:
            return self._sealed(key, body, part)
        outer = {
            "sealed": msgspec.Raw(self._sealed(key, _encoder.encode({**fields, SNAPSHOT: None}), part)),
            SNAPSHOT: msgspec.Raw(self._sealed(original(fields), bytes(fields[SNAPSHOT]), RECORD)),
            TOLD: fields[TOLD],
        }
        return _encoder.encode(outer)

    def open(self, key: Key, body: bytes, part: str) -> bytes:
        """What was sealed; a body that is plain as it is. Raises CannotOpen."""
        if key.tenant == SYSTEM_TENANT:
            return body
        if body.startswith(PREFIX):
            return self._opened(key, body, part)
        original = _original_of(key)
        if original is None or not body.startswith(b'{"sealed":"sealed:') or (fields := _copied(body)) is None:
            return body
        whole = msgspec.json.decode(self._opened(key, bytes(fields["sealed"]), part), type=dict[str, msgspec.Raw])
        whole[SNAPSHOT] = msgspec.Raw(self._opened(original(fields), bytes(fields[SNAPSHOT]), RECORD))
        return _encoder.encode(whole)

    def _sealed(self, key: Key, body: bytes, part: str) -> bytes:
        return PREFIX + _encoder.encode(self._codec.encode(body, About(*key, part)))[1:]  # bytes become Base64

    def _opened(self, key: Key, body: bytes, part: str) -> bytes:
        return self._codec.decode(_bytes.decode(b'"' + body[len(PREFIX) :]), About(*key, part))

    def __repr__(self) -> str:
        return f"Sealer({self._codec!r})"


def _copied(body: bytes) -> dict[str, msgspec.Raw] | None:
    """The fields of a body that holds a copy; None where it holds none."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        msgspec.json.decode(fields[TOLD], type=Copied)
    except (msgspec.MsgspecError, KeyError):
        return None
    return fields if SNAPSHOT in fields else None


def _original_of(key: Key) -> Callable[[Mapping[str, msgspec.Raw]], Key] | None:
    """What gives the original's key by the fields of its copy under `key`; None where `key` is no copy's."""
    id_ = original_id(key)
    if id_ is None:
        return None
    return lambda fields: Key(key.tenant, key.user, msgspec.json.decode(fields[TOLD], type=Copied).kind, id_)


def check_opened(body: bytes, what: str) -> None:
    """Raises CannotOpen where a body was given back sealed."""
    if body.startswith(PREFIX):
        raise CannotOpen(
            f"{what}: it is sealed, and the codec of this process did not open it; give it the key, "
            "`holdfast show RUN` says which"
        )
