"""What a seal is: a codec, what it is told about the bytes, and how a sealed body is known. Pure."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from holdfast import codec as json_codec
from holdfast.errors import Corrupt
from holdfast.store.records import SYSTEM_TENANT, Key

PREFIX = b'"sealed:'
"""What a sealed body begins with: it is a JSON text, as every store wants JSON."""
SEALED_BYTES_MAX = 2 * json_codec.PAYLOAD_BYTES_MAX
"""What the store inside must take as one body: Base64 makes the largest a third longer, and the codec adds its own."""
SEAL = Key(SYSTEM_TENANT, "", "seal", "codec")
"""The record by which a store tells that engines with a codec worked on it."""


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


def check_opened(body: bytes, what: str) -> None:
    """Raises CannotOpen where a body was given back sealed."""
    if body.startswith(PREFIX):
        raise CannotOpen(
            f"{what}: it is sealed, and the codec of this process did not open it; give it the key, "
            "`holdfast show RUN` says which"
        )
