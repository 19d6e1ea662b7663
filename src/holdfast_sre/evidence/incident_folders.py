"""Where incidents lie: a folder that is one, or a folder of folders to walk; and what each case is called."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from holdfast import InvalidInput
from holdfast_sre.evidence.opsbench import ABOUT_FILES, CACHE_FILE, is_incident


class Case(msgspec.Struct, frozen=True):
    """One incident's folder and its name."""

    name: str
    folder: Path


def find_cases(paths: Iterable[Path]) -> list[Case]:
    """The incidents at or under the paths, in the order of paths and names.

    Raises InvalidInput where a path is no folder or holds no incident.
    """
    found: list[Case] = []
    for path in paths:
        if not path.is_dir():
            raise InvalidInput(f"{path}: expected a folder, saw {'a file' if path.exists() else 'nothing'}")
        cases = [Case(_own_name(path), path)] if is_incident(path) else _cases_under(path)
        if not cases:
            raise InvalidInput(
                f"{path}: expected incidents, folders with {CACHE_FILE} and {' or '.join(ABOUT_FILES)}, saw none"
            )
        found.extend(cases)
    return found


def _cases_under(root: Path) -> list[Case]:
    folders = [cache.parent for cache in root.rglob(CACHE_FILE)]
    return [Case(folder.relative_to(root).as_posix(), folder) for folder in sorted(folders, key=_natural)]


def _natural(folder: Path) -> list[tuple[int, int, str]]:
    """Sorts `9` before `10`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in folder.parts]


def _own_name(folder: Path) -> str:
    """SYSTEM/CATEGORY/N where the folder lies like that, else its own name."""
    parts = folder.resolve().parts[1:]
    return "/".join(parts[-3:]) if len(parts) >= 3 and parts[-1].isdigit() else parts[-1]
