"""Takes a lock, is held up inside if the plan says so, writes under its lease, gives it back, and tells all of it."""

from __future__ import annotations

from holdfast import Engine, Fenced
from holdfast.store.contract.records import Change, Key, Put, Scope
from tests.engine.crash.programs.world import USER, World

TTL_S = 1.5

world = World.of_arguments()


async def lock(engine: Engine) -> None:
    """Hold the lock, write, give it back."""
    async with engine.lock("repository", "company/cart", user=USER, ttl_s=TTL_S) as lease:
        token = str(lease.token)
        world.ledger.add("held", token)
        await world.rest("hold")
        put = Put(key=Key("main", USER, "note", "cart"), body=b"{}", expect=None)
        change = Change(change_id=f"note {token}", writes=(put,), requires=(lease.requirement(),))
        try:
            await engine.store.commit(Scope.of_tenant("main"), change)
            world.ledger.add("wrote", token)
        except Fenced:
            world.ledger.add("fenced", token)
            await lease.lost.wait()
    world.ledger.add("gave back", token)


if __name__ == "__main__":
    world.play(then=lock)
