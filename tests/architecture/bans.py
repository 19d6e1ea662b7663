"""Banned calls: time, chance, tasks and catching have one place each, and everybody else goes through it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping

from tests.architecture.source import FunctionNode, Module, Modules, functions, imports, references

BANNED: Mapping[str, str] = {
    "asyncio.wait_for": "use asyncio.timeout: on 3.11 wait_for can lose a cancellation",
    "asyncio.create_task": "use the Supervisor in tasks",
    "asyncio.ensure_future": "use the Supervisor in tasks",
    "datetime.datetime.now": "take the time from the clock that was handed in",
    "datetime.datetime.utcnow": "take the time from the clock that was handed in",
    "datetime.datetime.today": "take the time from the clock that was handed in",
    "datetime.date.today": "take the time from the clock that was handed in",
    "os.urandom": "draw from the Randomness that was handed in",
    "uuid.uuid1": "use ids.uuid7",
    "uuid.uuid4": "use ids.uuid7",
    "print": "write through the command line's console, or log",
}
"""Names that nobody refers to, called or not, and what to do instead."""

BANNED_MODULES: Mapping[str, str] = {
    "time": "wall time comes from a Clock, durations from the running loop",
    "random": "draw from the Randomness that was handed in",
    "secrets": "draw from the Randomness that was handed in",
}

Exemptions = Mapping[str, Collection[str]]
"""Banned name -> the places that may use it."""


def banned(modules: Modules, *, exempt: Exemptions) -> list[str]:
    """References to banned names and imports of banned modules."""
    found = []
    for module in modules.values():
        for item in imports(module):
            reason = BANNED_MODULES.get(item.module)
            if reason and module.place not in exempt.get(item.module, ()):
                found.append(f"{module.place}:{item.line}: imports {item.module}: {reason}")
        for name, line in references(module):
            if name in BANNED and module.place not in exempt.get(name, ()):
                found.append(f"{module.place}:{line}: {name}: {BANNED[name]}")
        if module.place not in exempt.get("create_task", ()):
            found += [
                f"{module.place}:{line}: a naked create_task: use the Supervisor" for line in _naked_tasks(module)
            ]
    return found


def _naked_tasks(module: Module) -> Iterator[int]:
    """Lines of `x.create_task` where x is no `asyncio.TaskGroup` of an enclosing `async with`."""
    groups = {
        item.optional_vars.id
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and ast.unparse(item.context_expr).endswith("TaskGroup()")
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and node.attr == "create_task":
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner != "asyncio" and owner not in groups:
                yield node.lineno


def catch_alls(modules: Modules) -> dict[str, list[int]]:
    """Who catches everything: "place: qualified.name" of the function, and the lines of its handlers and `suppress`.

    A handler that ends with a bare `raise` lets everything pass, so it does not count.
    """
    found: dict[str, list[int]] = {}
    for module in modules.values():
        owners = list(functions(module))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                takes_all = _takes_everything(node.type) and not _passes_on(node)
            elif isinstance(node, ast.Call):
                takes_all = ast.unparse(node.func).endswith("suppress") and any(map(_takes_everything, node.args))
            else:
                continue
            if takes_all:
                found.setdefault(f"{module.place}: {_innermost(owners, node)}", []).append(node.lineno)
    return found


def _takes_everything(kind: ast.expr | None) -> bool:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(k is None or (isinstance(k, ast.Name) and k.id in ("Exception", "BaseException")) for k in kinds)


def _passes_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _innermost(owners: list[tuple[str, FunctionNode]], node: ast.ExceptHandler | ast.Call) -> str:
    around = [(f.lineno, name) for name, f in owners if f.lineno <= node.lineno <= (f.end_lineno or f.lineno)]
    return max(around)[1] if around else "the module"
