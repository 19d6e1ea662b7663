"""The catalogue of fault classes. One module is one class or one close family; each ends in `RULES`.

To add a class, add a file: it is found by being here. The order of the catalogue is that of the module names.
"""

from __future__ import annotations

import importlib
import pkgutil

from holdfast_sre.diagnosis.findings import Rule


def _families() -> dict[str, tuple[Rule, ...]]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {" ".join((module.__doc__ or "").partition("\n\n")[0].split()): module.RULES for module in modules}


FAMILIES: dict[str, tuple[Rule, ...]] = _families()
"""The rules by what their module says of itself."""
CATALOGUE: tuple[Rule, ...] = tuple(rule for rules in FAMILIES.values() for rule in rules)
