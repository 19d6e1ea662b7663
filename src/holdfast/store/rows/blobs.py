"""Values beyond the payload bound: cut into chunks, each a record of its own, and joined again. Pure.

A chunk is a record of kind `blob` whose id is the blob's id, a slash and its number, and whose body is a JSON text, for
that is what every store holds. What stands for the value is a small reference, written in the same change, with a
digest over all of the bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from holdfast import codec
from holdfast.errors import Corrupt, InvalidInput, NotFound
from holdfast.store.contract.records import ABSENT, Key, Put, Record
from holdfast.store.rows.digest import DIGEST_BYTES

BLOB = "blob"
"""The kind of records that hold chunks."""
CHUNK_BYTES = 720 * 1024
"""Bytes of one chunk: as text a third more, which is within the bound on one payload."""
BLOB_BYTES_MAX = 32 * 1024 * 1024
"""Bound on one value: as text it fits into one change, with room for what refers to it."""


class BlobRef(msgspec.Struct, frozen=True):
    """What stands for a value that is kept in chunks: small enough for a run's data, a step's argument, a signal.

    `id` names its chunks, `size_bytes` and `digest` (hex) are of the whole value.

    Example: `ctx.data["report"] = await ctx.put_blob("report", pdf)`, later `await ctx.get_blob(ctx.data["report"])`.
    """

    id: str
    size_bytes: int
    digest: str
    chunks: int


def digest_of_bytes(data: bytes) -> str:
    """The digest that a reference to `data` carries."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def cut(tenant: str, user: str, id_: str, data: bytes, *, what: str) -> tuple[BlobRef, tuple[Put, ...]]:
    """The reference to `data` under the blob id `id_`, and the writes of its chunks. Raises InvalidInput beyond
    BLOB_BYTES_MAX; `what` names the value in the error."""
    if len(data) > BLOB_BYTES_MAX:
        raise InvalidInput(
            f"{what}: expected at most {BLOB_BYTES_MAX} bytes, saw {len(data)}; store bigger things elsewhere and keep "
            "a link",
            bytes_max=BLOB_BYTES_MAX,
            bytes_seen=len(data),
        )
    parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    ref = BlobRef(id=id_, size_bytes=len(data), digest=digest_of_bytes(data), chunks=len(parts))
    keys = chunk_keys(tenant, user, ref)
    return ref, tuple(
        Put(key=key, body=codec.encode(part, what=what), expect=ABSENT) for key, part in zip(keys, parts, strict=True)
    )


def chunk_keys(tenant: str, user: str, ref: BlobRef) -> list[Key]:
    """The keys of a blob's chunks, in order."""
    return [Key(tenant, user, BLOB, f"{ref.id}/{number:06d}") for number in range(ref.chunks)]


def joined(ref: BlobRef, chunks: Sequence[Record | None]) -> bytes:
    """The value that `ref` stands for. Raises NotFound where there is nothing of it, Corrupt where its chunks are not
    what they were."""
    if chunks and not any(chunks):
        raise NotFound(f"blob {ref.id}: there is no such blob; it goes with the visit or the run that it belongs to")
    missing = [number for number, chunk in enumerate(chunks) if chunk is None]
    if missing:
        raise Corrupt(f"blob {ref.id}: expected {ref.chunks} chunks, saw all but {missing}; restore a backup", ref=ref)
    try:
        data = b"".join(codec.decode(chunk.body, bytes) for chunk in chunks if chunk is not None)
    except InvalidInput as error:
        raise Corrupt(f"blob {ref.id}: expected chunks of bytes, saw something else: {error}", ref=ref) from error
    if (digest := digest_of_bytes(data)) != ref.digest:
        raise Corrupt(
            f"blob {ref.id}: expected digest {ref.digest} of {ref.size_bytes} bytes, saw {digest} of {len(data)}; "
            "restore a backup",
            ref=ref,
            expected=ref.digest,
            seen=digest,
        )
    return data
