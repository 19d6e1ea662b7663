"""Large values of a run read back whole: what stands in their place is a `BlobRef`. `chunks` says what is cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from holdfast import codec
from holdfast.errors import InvalidInput
from holdfast.store.rows.blob_reading import read_blob
from holdfast.store.rows.blobs import BlobRef
from holdfast.workflow.model.run import Run
from holdfast.workflow.process.runtime import Runtime


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
