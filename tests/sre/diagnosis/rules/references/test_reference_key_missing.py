"""`reference-key-missing`: the object that a container names has no such key."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Field
from holdfast_sre.evidence.snapshot import Ref
from tests.sre.diagnosis.rules.references.worlds import held_back
from tests.sre.diagnosis.worlds import NAMESPACE, found

KEYED = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "till-db", "key": "PASSWORT"}}}]}


def test_a_key_that_the_secret_does_not_have() -> None:
    world = held_back(
        "CreateContainerConfigError", f"couldn't find key PASSWORT in Secret {NAMESPACE}/till-db", **KEYED
    )
    finding = found(world.snapshot(), "reference-key-missing")[0]
    assert Field(Ref("Secret", "till-db"), "data.PASSWORT") in finding.blames
    assert any(field.path.endswith("env[A].valueFrom.secretKeyRef.key") for field in finding.blames)
    assert not found(world.snapshot(), "reference-missing")


def test_a_secret_that_is_missing_as_a_whole_lacks_no_key() -> None:
    world = held_back("CreateContainerConfigError", 'secret "till-db" not found', **KEYED)
    assert not found(world.snapshot(), "reference-key-missing")
