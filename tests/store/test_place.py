"""A URL is shown without its secrets, however it is written, and stays readable otherwise."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidInput
from holdfast.store.contract.place import without_secret
from holdfast.store.open import open_store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("memory:", "memory:"),
        ("sqlite:///runs.db?mode=ro", "sqlite:///runs.db?mode=ro"),
        ("sqlite:////data/a@b:c.db", "sqlite:////data/a@b:c.db"),
        ("/data/a:b@c.db", "/data/a:b@c.db"),
        ("postgresql://ana@host:5432/runs", "postgresql://ana@host:5432/runs"),
        ("postgresql://[::1]:5432/runs?application_name=x", "postgresql://[::1]:5432/runs?application_name=x"),
        ("postgresql://ana:geheim@host:5432/runs?ssl=1", "postgresql://ana:***@host:5432/runs?ssl=1"),
        ("postgresql://host/runs?user=ana&password=geheim", "postgresql://host/runs?user=ana&password=***"),
        ("redis://:geheim@host/0", "redis://:***@host/0"),
        ("rediss://host:6380/0", "rediss://host:6380/0"),
        (
            "hybrid+postgresql://ana:geheim@host/runs?cache=redis://:geheim@cache:6379/0",
            "hybrid+postgresql://ana:***@host/runs?cache=redis://:***@cache:6379/0",
        ),
        (
            "hybrid+postgresql://ana@host/runs?cache=redis%3A%2F%2F%3Ageheim%40cache%2F0",
            "hybrid+postgresql://ana@host/runs?cache=redis://:***@cache/0",
        ),
        ("host/runs", "host/runs"),
    ],
)
def test_only_the_secret_is_hidden(url: str, shown: str) -> None:
    assert without_secret(url) == shown
    assert without_secret(shown) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:geh/eim@host/runs",
        "postgresql://ana:geh@eim@host/runs",
        "postgresql://ana:geheim?eim@host/runs",
        "postgresql://ana:geheim/runs",
        "redis://:geheim&eim@host/0?db=1",
        "hybrid+postgresql://ana@host/runs?cache=redis://:geheim&eim@cache/0",
        "postgresql:ana:geheim@host/runs",
        "postgresql:/ana:geheim@host/runs",
        "mysql://ana:geheim@host/runs",
        "sqlite://ana:geheim@host/runs",
    ],
)
def test_a_url_that_is_written_wrong_gives_nothing_away(url: str) -> None:
    for part in ("geh", "eim"):
        assert part not in without_secret(url)
    if not url.startswith(("redis", "hybrid", "postgres")):
        with pytest.raises(InvalidInput) as caught:
            open_store(url)
        assert "geheim" not in f"{caught.value} {caught.value.facts}"


secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map("geheim{}".format)


@given(secret=secrets, scheme=st.sampled_from(["postgresql", "redis", "rediss+cluster", "hybrid+postgresql", "what"]))
def test_no_quoted_password_is_ever_shown(secret: str, scheme: str) -> None:
    quoted = quote(secret, safe="")
    inner = quote(f"redis://:{quoted}@cache/0", safe="")
    url = f"{scheme}://ana:{quoted}@host/runs?cache={inner}&password={quoted}"
    shown = without_secret(url)
    assert "geheim" not in shown
    assert shown == f"{scheme}://ana:***@host/runs?cache=redis://:***@cache/0&password=***"
