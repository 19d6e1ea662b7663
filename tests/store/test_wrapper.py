"""What stores in front of others pass on: what each must answer for itself, and that none offers more than it means."""

from __future__ import annotations

import pytest

from holdfast import SealedStore
from holdfast.store.contract.protocol import FallsBack, RecentReads, Remedied, StreamEnds, Weakened
from holdfast.store.fallback.store import FallbackStore
from holdfast.store.mirror.store import MirrorStore
from holdfast.store.servers.breaker import Guarded
from holdfast.store.wrapping.wrapper import OpenWrapper, Wrapper
from holdfast.testing.faulty_store import FaultyStore
from holdfast.testing.watched import WatchedStore
from holdfast.workflow.upkeep.keeper import Trims

OWN = ("read", "scan", "commit", "claim", "events")
REPLACING = ("repair", "restore", "load")


@pytest.mark.parametrize("wrapper", [SealedStore, MirrorStore, FallbackStore])
def test_a_wrapper_answers_itself_for_what_replaces_records(wrapper: type) -> None:
    assert [name for name in (*OWN, *REPLACING) if name not in vars(wrapper)] == []
    assert [name for name in (*OWN, *REPLACING) if hasattr(OpenWrapper, name)] == []


@pytest.mark.parametrize("wrapper", [FaultyStore, WatchedStore])
def test_a_wrapper_for_tests_answers_itself_for_reads_and_writes(wrapper: type) -> None:
    assert [name for name in OWN if name not in vars(wrapper)] == []


@pytest.mark.parametrize("extra", [RecentReads, StreamEnds, Weakened, Remedied, FallsBack])
def test_what_some_stores_offer_is_not_passed_on_unasked(extra: type) -> None:
    assert not issubclass(OpenWrapper, extra)


@pytest.mark.parametrize("extra", [Guarded, Trims])
def test_a_wrapper_of_any_store_offers_nothing_that_not_every_store_has(extra: type) -> None:
    assert issubclass(OpenWrapper, extra)
    assert not issubclass(Wrapper, extra)


def test_where_streams_end_is_not_asked_of_a_server_that_may_be_away() -> None:
    """In an outage the streams go on in memory: a store that falls back cannot say at once where they end."""
    assert not issubclass(FallbackStore, StreamEnds)
    assert issubclass(MirrorStore, StreamEnds)
