"""Modules as the checks see them: a dotted name, a text, a tree. Nothing here is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file. `place` is its path from the source folder, as violations show it."""

    name: str
    place: str
    text: str
    tree: ast.Module

    @property
    def is_package(self) -> bool:
        """Whether this is a package's `__init__`."""
        return self.place.endswith("__init__.py")

    @property
    def room(self) -> str:
        """The second part of the dotted name: "chart" for holdfast.chart.step, "" for the front door itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def leaf(self) -> str:
        """The last part of the dotted name."""
        return self.name.rpartition(".")[2]


Modules = Mapping[str, Module]


@dataclass(frozen=True)
class Import:
    """One imported module or name: `from a.b import c` is module "a.b", name "c"; `import a.b` has name ""."""

    module: str
    name: str
    line: int
    bound: str
    """What it is called in the importing module."""


def module_of(place: str, text: str) -> Module:
    """A module from its path ("holdfast/chart/rules.py") and its text."""
    parts = place.removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    return Module(".".join(parts), place, text, ast.parse(text, filename=place))


def planted(texts: Mapping[str, str]) -> dict[str, Module]:
    """Modules from texts by place, for tests of the checks: `planted({"holdfast/chart/rules.py": "import time"})`."""
    modules = [module_of(place, text) for place, text in texts.items()]
    return {module.name: module for module in modules}


def load(folder: Path, package: str) -> dict[str, Module]:
    """The modules of `package` below `folder`, by dotted name."""
    paths = sorted((folder / package).rglob("*.py"))
    modules = [module_of(path.relative_to(folder).as_posix(), path.read_text("utf-8")) for path in paths]
    return {module.name: module for module in modules}


def imports(module: Module) -> Iterator[Import]:
    """Every import statement, at any depth. A relative one shows its dots, which no module here has."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                yield Import(source, alias.name, node.lineno, alias.asname or alias.name)


def imported_modules(module: Module, modules: Modules) -> Iterator[tuple[str, int]]:
    """The dotted names of our own modules that `module` imports, with the line. Names fall to their module."""
    for item in imports(module):
        whole = f"{item.module}.{item.name}" if item.name else item.module
        if whole in modules:
            yield whole, item.line
        elif item.module.partition(".")[0] in _roots(modules):
            yield item.module, item.line


def functions(module: Module) -> Iterator[tuple[str, FunctionNode]]:
    """Every function and method with its qualified name ("Writer.run")."""
    yield from _functions(module.tree, "")


def public_names(front_door: Module) -> list[str]:
    """The value of `__all__`."""
    for node in front_door.tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def qualified_names(module: Module) -> dict[str, str]:
    """What the module's imported names stand for: {"dt": "datetime", "now": "datetime.datetime.now"}."""
    names = {}
    for item in imports(module):
        if item.name:
            names[item.bound] = f"{item.module}.{item.name}"
        else:
            names[item.bound] = item.module if item.bound != item.module.partition(".")[0] else item.bound
    return names


def references(module: Module) -> Iterator[tuple[str, int]]:
    """Every dotted expression over an imported or builtin name, spelled out, with its line: called or not."""
    names = qualified_names(module)
    inner = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            head, *rest = _dotted(node)
            if head:
                yield ".".join([names.get(head, head), *rest]), node.lineno


def _dotted(node: ast.expr) -> list[str]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "", *parts]


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, FunctionNode]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode):
            yield prefix + child.name, child
        inner = f"{prefix}{child.name}." if isinstance(child, FunctionNode | ast.ClassDef) else prefix
        yield from _functions(child, inner)


def _roots(modules: Modules) -> set[str]:
    return {name.partition(".")[0] for name in modules}
