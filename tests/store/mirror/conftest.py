"""What the mirror's tests work on."""

from __future__ import annotations

from tests.store.postgres.conftest import database, template

__all__ = ["database", "template"]
