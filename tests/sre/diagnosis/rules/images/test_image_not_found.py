"""`image-not-found`: the registry answers that this very image is not found."""

from __future__ import annotations

import pytest

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.images.worlds import BOX, IMAGE, faults, pulling
from tests.sre.diagnosis.worlds import container, found


@pytest.mark.parametrize("message", [f"{IMAGE}: not found", "manifest unknown: no such tag"])
def test_an_image_that_the_registry_does_not_have(message: str) -> None:
    world = pulling(message)
    assert faults(world) == ["image-not-found"]
    finding = found(world.snapshot(), "image-not-found")[0]
    assert (finding.object, finding.confidence) == (Ref("Deployment", "oven"), 0.96)
    assert finding.blames == (Field(finding.object, f"{BOX}.image"),)


def test_where_others_pull_freely_an_image_that_may_not_exist_does_not() -> None:
    world = pulling("denied: permission denied (or it may not exist)")
    assert not found(world.snapshot(), "image-not-found")
    world.deployment("till", containers=[container(image="registry.test/till:1")])
    assert faults(world) == ["image-not-found"]


def test_a_pull_that_succeeded_since_is_history() -> None:
    assert not found(pulling("not found", state={"running": {}}).snapshot(), "image-not-found")


def test_a_message_about_another_image_is_not_about_this_one() -> None:
    assert not found(pulling("not found", image="registry.test/oven:1.0").snapshot(), "image-not-found")
