"""The catalogue of fault classes. A package here is a family, a module in it that ends in a `RULE` is one rule.

The rule `image-not-found` is the file `image_not_found.py` of its family. To add a rule, add its file and that of its
tests: it is found by being here. A family's docstring is its text in the catalogue; its modules without a `RULE` are
what its rules share. Families stand in the order of their names, and the rules of one in that of its `ORDER`; what that
does not name follows by name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType

from holdfast_sre.diagnosis.findings import Rule


def _modules(package: str, path: Iterable[str]) -> dict[str, ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(path))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}


def rules_of(family: ModuleType) -> tuple[Rule, ...]:
    """The rules of a family's package, in its order."""
    modules = _modules(family.__name__, family.__path__)
    rules = {name: module.RULE for name, module in modules.items() if hasattr(module, "RULE")}
    order: tuple[str, ...] = getattr(family, "ORDER", ())
    assert set(order) <= set(rules), f"{family.__name__}.ORDER names {sorted(set(order) - set(rules))}: no such rules"
    return tuple(rules[name] for name in dict.fromkeys((*order, *rules)))


def _text(family: ModuleType) -> str:
    return " ".join((family.__doc__ or "").partition("\n\n")[0].split())


FAMILIES: dict[str, tuple[Rule, ...]] = {
    _text(family): rules_of(family) for family in _modules(__name__, __path__).values()
}
"""The rules by what their family says of itself."""
CATALOGUE: tuple[Rule, ...] = tuple(rule for rules in FAMILIES.values() for rule in rules)
