"""The readers under a fuzzer that sees which code an input reaches. An extra, run by hand:

    uv pip install --group fuzz
    python -m tests.sre.evidence.fuzz_with_atheris -max_total_time=600 CORPUS_FOLDER

Everything but a refusal by name is a finding. `test_dump_fuzz.py` says the same with Hypothesis, on every change.
"""

from __future__ import annotations

import io
import sys
from contextlib import suppress

import atheris

from holdfast import InvalidInput

with atheris.instrument_imports(include=["holdfast_sre.evidence", "holdfast_sre.diagnosis", "holdfast_sre.repair"]):
    from holdfast_sre.diagnosis.diagnose import diagnose
    from holdfast_sre.evidence.dump import read_dump
    from holdfast_sre.evidence.input_files import Notes, Piece, pieces_in
    from holdfast_sre.evidence.manifest_files import load_manifests
    from holdfast_sre.repair.propose import propose

NAMES = ("x.json", "x.yaml", "shop/pod/logs.txt", "x")


def one_input(data: bytes) -> None:
    """The first byte says which reader, the others are what it reads."""
    kind, data = (data[0], data[1:]) if data else (0, b"")
    notes = Notes()
    with suppress(InvalidInput):
        if kind % 8 == 7:
            load_manifests(data.decode(errors="replace"), source="fuzz")
            return
        pieces = pieces_in(io.BytesIO(data), "x.tar", notes) if kind % 8 == 6 else [Piece(NAMES[kind % 4], data)]
        dump = read_dump(pieces, "fuzz", notes)
        for namespace in dump.candidates()[:2]:
            snapshot = dump.snapshot(namespace)
            propose(snapshot, diagnose(snapshot), last_good=snapshot.declared)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
