"""The catalogue of fault classes. One module is one class or one close family; each ends in `RULES`.

To add a class, add a file: it is found by being here. The order of the catalogue is that of the module names.
"""

from __future__ import annotations

import importlib
import pkgutil

from holdfast_sre.diagnosis.findings import Rule


def _catalogue() -> tuple[Rule, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(rule for module in modules for rule in module.RULES)


CATALOGUE: tuple[Rule, ...] = _catalogue()
