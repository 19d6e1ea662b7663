"""`mesh-policy`: a caller is denied access, and a policy selects what it calls."""

from __future__ import annotations

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.worlds import World, found


def test_a_mesh_that_denies_a_call() -> None:
    world = World()
    world.deployment("till")
    world.add("AuthorizationPolicy", "till", {"spec": {"selector": {"matchLabels": {"app": "till"}}}})
    assert not found(world.snapshot(), "mesh-policy")
    world.log("shop", "GET till: 403 RBAC: access denied")
    assert found(world.snapshot(), "mesh-policy")[0].object == Ref("AuthorizationPolicy", "till")
