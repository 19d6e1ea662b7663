"""`image-pull-forbidden`: the registry answers 401 or 403."""

from __future__ import annotations

import pytest

from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.images.worlds import BOX, faults, pulling
from tests.sre.diagnosis.worlds import container, found


@pytest.mark.parametrize(
    "message", ["unexpected status from GET request: 401 Unauthorized", "403 Forbidden, or it may not exist"]
)
def test_a_registry_that_wants_to_know_who_asks(message: str) -> None:
    world = pulling(message)
    assert faults(world) == ["image-pull-forbidden"]
    assert found(world.snapshot(), "image-pull-forbidden")[0].object == Ref("Deployment", "oven")


def test_an_absent_pull_secret_is_blamed_with_the_image() -> None:
    world = pulling("403 Forbidden", imagePullSecrets=[{"name": "gone"}])
    paths = {field.path for field in found(world.snapshot(), "image-pull-forbidden")[0].blames}
    assert paths == {f"{BOX}.image", "spec.template.spec.imagePullSecrets"}


def test_where_others_pull_freely_nobody_is_forbidden_to() -> None:
    world = pulling("denied: permission denied (or it may not exist)")
    world.deployment("till", containers=[container(image="registry.test/till:1")])
    assert not found(world.snapshot(), "image-pull-forbidden")
