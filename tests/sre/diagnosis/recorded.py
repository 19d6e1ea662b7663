"""The recorded incidents beside the repository, for tests that skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "cloud-opsbench"


def data_file(name: str) -> Path:
    """A file or folder of the data set; skips the test where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the recorded incidents are not beside the repository (no {name})")
    return path


def incidents_archive() -> Path:
    """The archive of all development incidents."""
    return data_file("incidents-dev.tar.xz")
