"""Blobs: what is cut is joined again, and what is not whole any more is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast import BlobRef, Corrupt, InvalidInput, NotFound, codec
from holdfast.store.contract.records import Change, Put, Record
from holdfast.store.decisions import gate
from holdfast.store.memory import MemoryStore
from holdfast.store.rows.blob_reading import READ_CHUNKS, read_blob
from holdfast.store.rows.blobs import BLOB_BYTES_MAX, CHUNK_BYTES, chunk_keys, cut, joined
from holdfast.testing.conformance.samples import ANA, BOB


def cut_of(data: bytes) -> tuple[BlobRef, list[Record]]:
    ref, puts = cut("acme", "ana", "r/a", data, what="test")
    return ref, [Record(key=put.key, version=1, body=put.body) for put in puts]


@given(st.binary(max_size=40), st.sampled_from([0, CHUNK_BYTES - 20, CHUNK_BYTES, 3 * CHUNK_BYTES - 7]))
def test_what_is_cut_is_joined_again(tail: bytes, zeros: int) -> None:
    data = bytes(zeros) + tail
    ref, records = cut_of(data)
    assert joined(ref, records) == data
    assert (ref.size_bytes, ref.chunks) == (len(data), len(records)) == (len(data), -(-len(data) // CHUNK_BYTES))
    assert codec.decode(codec.encode(ref), BlobRef) == ref


def test_largest_blob_fits_into_one_change_with_what_refers_to_it() -> None:
    ref, puts = cut("acme", "ana", "r/a", b"\xff" * BLOB_BYTES_MAX, what="test")
    change = Change(change_id="c", writes=puts)
    assert gate.check_change(ANA, change) < gate.CHANGE_BYTES_MAX - 16 * 1024 * 1024
    with pytest.raises(InvalidInput, match="test: expected at most 33554432 bytes, saw 33554433"):
        cut("acme", "ana", "r/a", b"\xff" * (BLOB_BYTES_MAX + 1), what="test")
    assert ref.chunks < gate.ROWS_MAX / 10


@pytest.mark.parametrize("place", [0, 1, 2])
def test_chunks_that_are_not_what_they_were_are_named(place: int) -> None:
    data = b"".join(number.to_bytes(4, "big") for number in range(CHUNK_BYTES * 5 // 8))
    ref, records = cut_of(data)
    assert len(records) == 3
    for body in (codec.encode(b"others"), b"[1]", b'"not base64"', records[place - 1].body):
        spoilt = [replace(each, body=body) if number == place else each for number, each in enumerate(records)]
        with pytest.raises(Corrupt, match="blob r/a: expected"):
            joined(ref, spoilt)
    missing = [None if number == place else each for number, each in enumerate(records)]
    with pytest.raises(Corrupt, match=f"blob r/a: expected 3 chunks, saw all but \\[{place}\\]"):
        joined(ref, missing)
    with pytest.raises(NotFound, match="blob r/a: there is no such blob"):
        joined(ref, [None] * 3)


async def test_blob_is_read_in_pages_by_its_user_alone() -> None:
    store = MemoryStore()
    data = b"x" * ((READ_CHUNKS + 2) * CHUNK_BYTES)
    ref, puts = cut("acme", "ana", "r/a", data, what="test")
    await store.commit(ANA, Change(change_id="c", writes=puts))
    assert await read_blob(store, "acme", "ana", ref) == data
    with pytest.raises(NotFound):
        await read_blob(store, "acme", "bob", ref)
    empty, none = cut("acme", "ana", "r/b", b"", what="test")
    assert (none, await read_blob(store, "acme", "ana", empty)) == ((), b"")
    assert await store.read(BOB, chunk_keys("acme", "ana", ref)[:1]) == [None]
    assert all(isinstance(put, Put) and len(put.body) <= codec.PAYLOAD_BYTES_MAX for put in puts)
