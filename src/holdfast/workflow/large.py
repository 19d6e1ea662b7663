"""Large values of a run: inputs, signals' data and results of steps that are kept in chunks, and read back whole.

What stands in their place is a `BlobRef`. Its chunks lie under the run's id, so that they go with the run; those of a
step's result lie under the visit, and go with that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.blob_reading import read_blob
from holdfast.store.blobs import BlobRef, cut
from holdfast.store.records import Key, Put
from holdfast.workflow.run import Run, Signal
from holdfast.workflow.runtime import Runtime
from holdfast.workflow.signals import signal_key

INLINE_BYTES_MAX = 256 * 1024
"""Bound on an input, and on a signal's data, within the run's record: it is written with every transition."""

_NOTHING = msgspec.Raw(b"null")


def with_input(run: Run, body: bytes) -> tuple[Run, tuple[Put, ...]]:
    """The run with `body` as its input, and the writes of what does not fit into its record."""
    if len(body) <= INLINE_BYTES_MAX:
        return replace(run, input=msgspec.Raw(body)), ()
    ref, chunks = cut(run.tenant, run.user, f"{run.id}/input", body, what=f"input of workflow {run.workflow}")
    return replace(run, input=_NOTHING, blobs={**run.blobs, "input": ref}), chunks


def with_data(run: Run, signal: Signal, body: bytes) -> tuple[Signal, tuple[Put, ...]]:
    """A signal to `run` with `body` as its data, and the writes of what does not fit into it."""
    if len(body) <= INLINE_BYTES_MAX:
        return replace(signal, data=msgspec.Raw(body)), ()
    blob_id = signal_blob(signal_key(run, signal.id))
    ref, chunks = cut(run.tenant, run.user, blob_id, body, what=f"data of signal {signal.name}")
    return replace(signal, data=_NOTHING, blob=ref), chunks


def signal_blob(key: Key) -> str:
    """The id of the blob that holds the data of the signal under `key`."""
    run_id, _, name = key.id.partition("/")
    return f"{run_id}/signal/{name}"


def has_input_of(run: Run, other: Run) -> bool:
    """Whether two runs were started with the same input."""
    mine, theirs = run.blobs.get("input"), other.blobs.get("input")
    if mine is None or theirs is None:
        return mine is theirs and bytes(run.input) == bytes(other.input)
    return (mine.size_bytes, mine.digest) == (theirs.size_bytes, theirs.digest)


def blob_ref(given: BlobRef | Mapping[str, Any]) -> BlobRef:
    """`given` as a reference. Raises InvalidInput where it is none."""
    try:
        return msgspec.convert(given, BlobRef)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"blob: expected what put_blob gave, saw {given!r:.80}: {error}") from error


async def whole(runtime: Runtime, run: Run) -> Run:
    """The run as its handlers see it, with its input and its last signal's data in their places."""
    if (ref := run.blobs.get("input")) is not None:
        run = replace(run, input=msgspec.Raw(await read_patiently(runtime, run, ref)))
    if (ref := run.blobs.get("signal")) is not None:
        run = replace(run, signal={**(run.signal or {}), "data": codec.decode(await read_patiently(runtime, run, ref))})
    return run


async def read_patiently(runtime: Runtime, run: Run, ref: BlobRef) -> bytes:
    """The value that `ref` stands for; a store that is away is waited for, as commits wait for it."""
    return await runtime.patiently(lambda: read_blob(runtime.store, run.tenant, run.user, ref))
