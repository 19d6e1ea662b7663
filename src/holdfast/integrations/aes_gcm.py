"""Payloads encrypted by AES-GCM, under keys that rotate. Needs `pip install 'holdfast[encryption]'`.

What is stored names its key: older keys still read, new writes use the current one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast import About, CannotOpen, InvalidInput

NONCE_BYTES = 12
"""What AES-GCM takes. Drawn by chance: change the key long before 2**32 writes under it."""


class AesGcm:
    """A codec. `keys`: 16, 24 or 32 bytes each, by the ids that are stored beside the payloads; `current` seals.

    Example: `AesGcm({"2026-10": old, "2026-11": new}, current="2026-11")`.
    """

    def __init__(self, keys: Mapping[str, bytes], *, current: str) -> None:
        if current not in keys:
            raise InvalidInput(f"AesGcm: expected current to be one of {sorted(keys)}, saw {current!r}")
        if wrong := [id_ for id_ in keys if not 0 < len(id_.encode()) < 256]:
            raise InvalidInput(f"AesGcm: expected key ids of 1 to 255 bytes, saw {wrong}")
        if wrong := [id_ for id_, key in keys.items() if len(key) not in (16, 24, 32)]:
            raise InvalidInput(f"AesGcm: expected keys of 16, 24 or 32 bytes, saw others under {wrong}")
        self._ciphers = {id_: AESGCM(key) for id_, key in keys.items()}
        self._current = current

    def encode(self, data: bytes, about: About) -> bytes:
        """The length of the key's id, the id, the nonce, and what was encrypted."""
        id_, nonce = self._current.encode(), os.urandom(NONCE_BYTES)
        return bytes([len(id_)]) + id_ + nonce + self._ciphers[self._current].encrypt(nonce, data, bytes(about))

    def decode(self, data: bytes, about: About) -> bytes:
        """The plain bytes. Raises CannotOpen."""
        split = 1 + data[0] if data else 0
        key_id = data[1:split].decode(errors="replace")
        what = f"{about.part} {about.kind} {about.id}"
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotOpen(
                f"{what}: expected key {key_id!r}, saw only {sorted(self._ciphers)}; add it to the codec's keys",
                key_id=key_id,
            )
        nonce, sealed = data[split : split + NONCE_BYTES], data[split + NONCE_BYTES :]
        try:
            return cipher.decrypt(nonce, sealed, bytes(about))
        except (InvalidTag, ValueError) as error:
            raise CannotOpen(
                f"{what}: expected it to open with key {key_id!r}, saw that it does not; the bytes under this id are "
                "another key, or the payload was damaged or moved here from elsewhere",
                key_id=key_id,
            ) from error

    def __repr__(self) -> str:
        return f"AesGcm({sorted(self._ciphers)}, current={self._current!r})"
