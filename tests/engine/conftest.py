"""One fixture for the engine's tests: labs on memory, on memory with nothing cached, on SQLite, on
servers.

When a test is over its stores are verified, and every run is compared with what its journal says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from holdfast import Workflow
from holdfast.store.open import open_store
from holdfast.testing import Lab, VirtualClock
from tests.engine.journal import check_everything
from tests.engine.labs import OpenLab


@pytest.fixture(params=["memory", "cold", "sqlite"])
async def open_lab(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenLab]:
    """A function that opens a lab with the given workflows and options, on a fresh store of the parameter's kind."""
    kind: str = request.param
    url = _url_of(kind, request, tmp_path)
    async with AsyncExitStack() as stack:

        async def open_one(*workflows: Workflow, **options: Any) -> Lab:
            clock = VirtualClock()
            store = open_store(url, clock=clock)
            stack.push_async_callback(store.close)
            stack.push_async_callback(check_everything, store)
            options.setdefault("durable", kind != "redis")
            lab = Lab(*workflows, clock=clock, store=store, is_cold=kind == "cold", **options)
            return await stack.enter_async_context(lab)

        yield open_one


def _url_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """A fresh place of that kind; its servers are started where it needs some."""
    match kind:
        case "sqlite":
            return f"sqlite:///{folder / 'runs.db'}"
        case "postgresql":
            return str(request.getfixturevalue("database"))
        case "redis":
            return f"{request.getfixturevalue('valkey_server').url}?namespace={request.getfixturevalue('namespace')}"
        case "mirror":
            cache = request.getfixturevalue("valkey_server").url
            return f"hybrid+{request.getfixturevalue('database')}?cache={cache}"
    return "memory:"
