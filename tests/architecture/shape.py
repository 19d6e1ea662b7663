"""Shape: how long modules and functions are, and what furniture a room has."""

from __future__ import annotations

import ast
from collections.abc import Collection

from tests.architecture.source import FunctionNode, Module, Modules, functions

PARAGRAPH_CHARS_MIN = 120
"""The shortest text that passes for a room's paragraph."""


def module_lines(module: Module) -> int:
    """Lines of the file."""
    return len(module.text.splitlines())


def long_modules(modules: Modules, lines_max: int) -> list[str]:
    """Modules of more than `lines_max` lines."""
    return [
        f"{module.place}: {module_lines(module)} lines, at most {lines_max}; it has two jobs, give each its own module"
        for module in modules.values()
        if module_lines(module) > lines_max
    ]


def function_lines(node: FunctionNode) -> int:
    """Lines from `def` to the end, docstring included, decorators not."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def long_functions(modules: Modules, lines_max: int) -> list[str]:
    """Functions of more than `lines_max` lines."""
    return [
        f"{module.place}:{node.lineno}: {name} has {function_lines(node)} lines, at most {lines_max}; put ifs up"
        for module in modules.values()
        for name, node in functions(module)
        if function_lines(node) > lines_max
    ]


def missing_furniture(modules: Modules, *, rooms_without_rules: Collection[str] = ()) -> list[str]:
    """Rooms that lack their paragraph, their `rules.py`, in a folder or not, or a third module beside `__init__`."""
    found = []
    for room in modules.values():
        if not room.is_package or room.name.count(".") != 1:
            continue
        parts = [m for m in modules.values() if m.name.startswith(f"{room.name}.") and not m.is_package]
        if len(parts) < 3:
            found.append(f"{room.place}: a room needs 3 modules, {room.leaf} has {len(parts)}; make it one module")
        paragraph = ast.get_docstring(room.tree) or ""
        if len(paragraph) < PARAGRAPH_CHARS_MIN:
            found.append(f"{room.place}: a room opens with a paragraph that says what it is for and how to read it")
        if room.leaf not in rooms_without_rules and not any(part.leaf == "rules" for part in parts):
            found.append(f"{room.place}: room {room.leaf} has no rules.py; what decides is pure and lives there")
    return found


def without_purpose(modules: Modules) -> list[str]:
    """Modules that do not open with a docstring."""
    return [f"{m.place}: a module opens with its purpose" for m in modules.values() if not ast.get_docstring(m.tree)]
