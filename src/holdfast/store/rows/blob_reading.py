"""Reading what `blobs` cut."""

from __future__ import annotations

from holdfast.store.contract.protocol import Store
from holdfast.store.contract.records import Record, Scope
from holdfast.store.rows.blobs import BlobRef, chunk_keys, joined

READ_CHUNKS = 8
"""Chunks that are read in one call: the bodies of one answer are in memory several times."""


async def read_blob(store: Store, tenant: str, user: str, ref: BlobRef) -> bytes:
    """The value that `ref` stands for, of one user. Raises as `blobs.joined` does."""
    keys = chunk_keys(tenant, user, ref)
    chunks: list[Record | None] = []
    for start in range(0, len(keys), READ_CHUNKS):
        chunks += await store.read(Scope.of_user(tenant, user), keys[start : start + READ_CHUNKS])
    return joined(ref, chunks)
