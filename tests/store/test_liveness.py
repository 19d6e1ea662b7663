"""Who holds a file lock lives; whoever dies lets it go without being asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import InvalidInput, Unavailable
from holdfast.store.liveness import FileLiveness

HOLDER = """
import sys
from pathlib import Path
from holdfast.store.liveness import FileLiveness
life = FileLiveness(Path(sys.argv[1])).hold("child")
print("held", flush=True)
sys.stdin.read()
"""


def test_held_is_alive_and_released_is_not(tmp_path: Path) -> None:
    liveness = FileLiveness(tmp_path / "processes")
    assert not liveness.is_alive("p1")
    life = liveness.hold("p1")
    assert liveness.is_alive("p1")
    assert FileLiveness(tmp_path / "processes").is_alive("p1")
    life.release()
    life.release()
    assert not liveness.is_alive("p1")


def test_id_is_held_once(tmp_path: Path) -> None:
    liveness = FileLiveness(tmp_path)
    life = liveness.hold("p1")
    with pytest.raises(Unavailable, match="held by another"):
        liveness.hold("p1")
    life.release()
    liveness.hold("p1").release()


def test_killed_process_is_dead_at_once_and_cleaned_up(tmp_path: Path) -> None:
    liveness = FileLiveness(tmp_path)
    source = str(Path(__file__).resolve().parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": source},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert liveness.is_alive("child")
        child.kill()
        child.wait()
        assert (tmp_path / "child.alive").exists()
        assert not liveness.is_alive("child")
        assert not (tmp_path / "child.alive").exists()


@pytest.mark.parametrize("name", ["", "../etc", "a/b", ".hidden", "x" * 300, "a b", "ä"])
def test_odd_ids_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        FileLiveness(tmp_path).hold(name)
    with pytest.raises(InvalidInput):
        FileLiveness(tmp_path).is_alive(name)
