"""The contract of a store as tests. Every back end and wrapper passes all of it, through one fixture.

Derive a class from `StoreContract` (and from `AdminContract` for a back end), and provide the fixture `open_store`: a
function that opens a store on this test's own empty place, again and again the same place, taking the `clock` that the
store is to use. Stores are closed by the tests. A test may look at `capabilities`, never at a back end's name.

    class TestMine(StoreContract, AdminContract):
        @pytest.fixture
        def open_store(self, tmp_path):
            return lambda clock=None: MyStore(tmp_path / "store", clock=clock)
"""

from holdfast.testing.conformance.admin import AdminContract
from holdfast.testing.conformance.claiming import ClaimingContract
from holdfast.testing.conformance.committing import CommittingContract
from holdfast.testing.conformance.equivalence import EquivalenceContract
from holdfast.testing.conformance.journalling import JournallingContract
from holdfast.testing.conformance.reading import ReadingContract
from holdfast.testing.conformance.refusing import RefusingContract
from holdfast.testing.conformance.samples import OpenStore, StepClock
from holdfast.testing.conformance.waiting import WaitingContract

__all__ = ["AdminContract", "EquivalenceContract", "OpenStore", "StepClock", "StoreContract"]


class StoreContract(
    ReadingContract,
    CommittingContract,
    RefusingContract,
    ClaimingContract,
    JournallingContract,
    WaitingContract,
):
    """All that every store and every wrapper of one must do."""
