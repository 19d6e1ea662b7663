"""Pure rules: what decides never awaits, logs, sleeps, reads a clock, rolls dice or touches a file.

Purity is followed through imports: a rules module is as pure as the modules of ours that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.architecture.source import Module, Modules, imported_modules, imports

PURE_LIBRARIES = frozenset(
    "__future__ abc bisect collections copy dataclasses datetime decimal difflib enum fnmatch fractions functools "
    "graphlib hashlib heapq html inspect itertools json math msgspec operator re ruamel string textwrap types typing "
    "unicodedata".split()
)
"""What a pure module may import from outside: values and parsers of text. The clock in `datetime` is a banned call."""

PURE_NAMES = {"holdfast.clock": frozenset({"format_duration", "parse_duration_s", "utc"})}
"""Modules that are not pure as a whole, with their names that are."""

IMPURE_BUILTINS = frozenset({"breakpoint", "exec", "eval", "input", "open", "print"})


def impure(module: Module, modules: Modules) -> list[str]:
    """What makes `module`, or a module of ours that it imports, impure; each line names the module at fault."""
    found: list[str] = []
    seen: set[str] = set()
    waiting = [(module, module.place)]
    while waiting:
        current, route = waiting.pop()
        if current.name in seen:
            continue
        seen.add(current.name)
        found += [f"{fault} (imported by {route})" if current is not module else fault for fault in _faults(current)]
        for target, _ in imported_modules(current, modules):
            if target in modules and target not in PURE_NAMES:
                waiting.append((modules[target], module.place))
    return found


def _faults(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        place = f"{module.place}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith):
            yield f"{place}: a pure module neither awaits nor has async functions"
        elif isinstance(node, ast.Global):
            yield f"{place}: a pure module changes no globals; return the new value"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_BUILTINS:
            yield f"{place}: a pure module does not call {node.func.id}"
    for item in imports(module):
        root = item.module.partition(".")[0]
        place = f"{module.place}:{item.line}"
        whole = f"{item.module}.{item.name}"
        if item.module in PURE_NAMES or whole in PURE_NAMES:
            if item.name not in PURE_NAMES.get(item.module, ()):
                yield f"{place}: {whole.rstrip('.')} is not pure; pass its answer as an argument"
        elif root not in PURE_LIBRARIES and root != "holdfast" and root != module.name.partition(".")[0]:
            yield f"{place}: a pure module does not import {item.module}; pass what it gives as an argument"
