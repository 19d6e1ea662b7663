"""Large inputs and signals' data of a run: what does not fit into a record is cut into chunks beside it. Pure.

What stands in their place is a `BlobRef`. Its chunks lie under the run's id, so that they go with the run; those of a
step's result, which `memos` cuts, lie under the visit, and go with that.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from holdfast.store.contract.records import Key, Put
from holdfast.store.rows.blobs import cut
from holdfast.workflow.decisions.signals import signal_key
from holdfast.workflow.model.run import Run, Signal

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
