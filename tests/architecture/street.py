"""The street: who may import whom. A module imports from its own room and from rooms further down, nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import Modules, imported_modules, imports, public_names

STREET: tuple[frozenset[str], ...] = tuple(
    frozenset(level.split())
    for level in (
        "budget cancellation errors ids names clock codec faults logs merge patch",
        "loops tasks",
        "cleanups",
        "context",
        "chart resilience",
        "store",
        "locks",
        "limits",
        "state",
        "workflow",
        "agents",
        "users observe",
        "app",
        "cli",
        "integrations",
        "testing",
        "__main__",
    )
)
"""From the bottom up. Modules of the first level may use each other; rooms of any other level may not."""

BASE = STREET[0]
FLOOR = {room: height for height, level in enumerate(STREET) for room in level}
CLOSED_TO_THE_FRONT_DOOR = frozenset({"cli", "integrations", "testing", "__main__"})
"""Doors of their own: `import holdfast` does not open them."""


def uphill(modules: Modules) -> list[str]:
    """Imports that do not point down the street, and rooms that have no place on it."""
    found = []
    for module in modules.values():
        if module.room and module.room not in FLOOR:
            found.append(f"{module.place}: room {module.room!r} has no place on the street; give it one in STREET")
            continue
        for target, line in imported_modules(module, modules):
            if reason := _objection(module.room, target):
                found.append(f"{module.place}:{line}: imports {target}: {reason}")
    return found


def _objection(room: str, target: str) -> str:
    """Why `room` may not import the module `target`; empty if it may."""
    there = target.partition(".")[2].partition(".")[0]
    if not room:
        return f"the front door leaves {there} closed" if there in CLOSED_TO_THE_FRONT_DOOR else ""
    if there == room:
        return ""
    if room == "integrations":
        return "integrations use the front door only" if there else ""
    if room == "testing":
        return ""
    if not there:
        return "the front door is for users; import the module that has the name"
    if there not in FLOOR:
        return f"room {there!r} has no place on the street"
    if room in BASE and there in BASE:
        return ""
    here, floor = FLOOR[room], FLOOR[there]
    return (
        "" if floor < here else f"{there} is {'beside' if floor == here else 'above'} {room}; take a Protocol instead"
    )


STAIRS: dict[str, tuple[frozenset[str], ...]] = {
    house: tuple(frozenset(level.split(" ")) for level in levels)
    for house, levels in {
        "holdfast.store": (
            "contract",
            "rows",
            "decisions",
            "writing servers",
            "upkeep",
            "sqlite",
            "memory postgres redis wrapping",
            "fallback",
            "mirror",
            "",
        ),
        "holdfast.workflow": ("model", "decisions", "process", "actors board upkeep", "recovery", ""),
        "holdfast.cli": ("", "documents", "drawing procedures", "commands"),
        "holdfast_sre": (
            "durations files telling",
            "evidence",
            "ports diagnosis",
            "repair",
            "history",
            "evaluation local",
            "flow",
            "report",
            "cli",
            "__main__",
        ),
        "holdfast_sre.repair": ("tree", "last_good", "built proof", ""),
    }.items()
}
"""The floors of a package that has folders, from the bottom up: folders, modules that have a floor of their own, and ""
for the rest of what stands in the package itself."""


def upstairs(modules: Modules) -> list[str]:
    """Imports within a package that do not point down its stairs, and folders that have no place there."""
    return [found for house in STAIRS for found in _upstairs(house, modules)]


def _upstairs(house: str, modules: Modules) -> Iterator[str]:
    floors = {folder: height for height, level in enumerate(STAIRS[house]) for folder in level}
    inside = {name: _part(name, house, floors, modules) for name in modules if name.startswith(f"{house}.")}
    for name, here in inside.items():
        module = modules[name]
        if here not in floors:
            yield f"{module.place}: {here or 'it'} has no place in {house}; give it one in STAIRS"
            continue
        for target, line in imported_modules(module, modules):
            there = inside.get(target, here)
            if there != here and floors.get(there, 0) >= floors[here]:
                yield f"{module.place}:{line}: imports {target}: {there or 'the room'} is not below {here or 'it'}"


def _part(name: str, house: str, floors: dict[str, int], modules: Modules) -> str:
    """The folder of the house that a module stands in, or itself where it has a floor of its own; else ""."""
    first, _, inner = name.removeprefix(f"{house}.").partition(".")
    return first if inner or first in floors or modules[name].is_package else ""


def cycles(modules: Modules) -> list[str]:
    """Modules that import each other in a ring, each ring once. A package's `__init__` does not count for its parts."""
    graph = {
        name: {target for target, _ in imported_modules(module, modules) if target in modules and target != name}
        for name, module in modules.items()
    }
    found: list[str] = []
    done: set[str] = set()
    for name in sorted(graph):
        found += ["imports in a ring: " + " -> ".join(ring) for ring in _rings(graph, name, [], done)]
    return found


def _rings(graph: dict[str, set[str]], name: str, path: list[str], done: set[str]) -> Iterator[list[str]]:
    if name in path:
        yield [*path[path.index(name) :], name]
    elif name not in done:
        for target in sorted(graph[name]):
            yield from _rings(graph, target, [*path, name], done)
        done.add(name)


def deep_application_imports(modules: Modules, front_door: Modules, *, package: str) -> list[str]:
    """Imports by which an application reaches past the front door `package`, or asks for what it does not offer."""
    offered = public_names(front_door[package])
    found = []
    for module in modules.values():
        for item in imports(module):
            if item.module.partition(".")[0] != package:
                continue
            if item.module != package or not item.name:
                found.append(f"{module.place}:{item.line}: imports {item.module}; use `from {package} import ...`")
            elif item.name not in offered:
                found.append(f"{module.place}:{item.line}: {package} offers no public {item.name!r}; see its __all__")
    return found


def hidden_imports(modules: Modules, *, may_load_by_name: frozenset[str] = frozenset()) -> list[str]:
    """Imports that are not plain statements at the top: in functions, under TYPE_CHECKING, relative, or by name."""
    found = []
    for module in modules.values():
        top = {id(node) for node in module.tree.body}
        for node in ast.walk(module.tree):
            place = f"{module.place}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                if id(node) not in top:
                    found.append(f"{place}: an import belongs at the top of the module, under no condition")
                if isinstance(node, ast.ImportFrom) and node.level:
                    found.append(f"{place}: a relative import; spell the whole name")
            elif isinstance(node, ast.Name | ast.Attribute):
                name = node.id if isinstance(node, ast.Name) else node.attr
                if name == "TYPE_CHECKING":
                    found.append(f"{place}: TYPE_CHECKING hides an import from this check; take a Protocol instead")
                if name in ("__import__", "import_module") and module.place not in may_load_by_name:
                    found.append(f"{place}: {name} loads by name what the street cannot see")
    return found
