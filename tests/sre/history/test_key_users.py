"""Who else uses a key that was changed and is blamed."""

from __future__ import annotations

from holdfast_sre.diagnosis.findings import Change, Field, Finding, quote
from holdfast_sre.evidence.snapshot import Ref, Snapshot
from holdfast_sre.history.key_users import KEYS_MAX, USERS_MAX, KeyUse, changed_keys, key_users
from holdfast_sre.history.keys import Key
from holdfast_sre.history.sources import SourceCommit, SourcePast
from holdfast_sre.history.touched import KeyChange
from holdfast_sre.ports import Commit, Revision
from holdfast_sre.repair.last_good.changelog import Edit
from tests.sre.diagnosis.worlds import World, container

OVEN = Ref("Deployment", "oven")
COMMIT = Commit(Revision("a" * 40), (), "Ana", 0, "Change")


def bakery() -> Snapshot:
    world = World()
    key = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "level"}}}
    tint = {"name": "TINT", "valueFrom": {"configMapKeyRef": {"name": "words", "key": "tint"}}}
    whole = [{"configMapRef": {"name": "words"}}]
    world.deployment("oven", containers=[container(env=[key, {"name": "DOUGH_HOST", "value": "mixer:80"}])])
    world.deployment("lamp", containers=[container(env=[key])])
    world.deployment("sign", containers=[container(env=[tint])])
    world.deployment("mixer", containers=[container(envFrom=whole)])
    world.deployment("till", containers=[container(env=[{"name": "DOUGH_HOST", "value": "oven:80"}])])
    for name in ("oven", "mixer"):
        world.service(name)
    world.add("ConfigMap", "words", {"data": {"level": "3", "tint": "red"}})
    return world.snapshot()


def used(key: Key, finding: Finding | None = None, **elsewhere: tuple[str, ...]) -> KeyUse:
    places = {Key("setting", name): told for name, told in elsewhere.items()}
    (found,) = key_users(bakery(), finding or Finding("r", OVEN, 0.9, ()), {key: ("aaa",)}, places)
    return found


def test_a_key_of_a_table_is_used_by_those_who_read_it() -> None:
    assert used(Key("setting", "level")).users == (
        "Deployment/lamp (reads level of ConfigMap/words)",
        "Deployment/mixer (reads all of ConfigMap/words)",
    )


def test_a_variable_is_used_by_those_who_set_it_and_by_other_sources() -> None:
    found = used(Key("setting", "DOUGH_HOST"), DOUGH_HOST=("source of till (a.go)",))
    assert found.users == ("Deployment/till (sets DOUGH_HOST)", "source of till (a.go)")
    assert found.told == ("DOUGH_HOST (changed by aaa): Deployment/till (sets DOUGH_HOST), source of till (a.go)")


def test_a_port_is_used_by_who_comes_through_its_service() -> None:
    assert used(Key("port", "8000")).users == (
        "Deployment/till (calls it, by Service/oven)",
        "Service/oven (leads to port 8000)",
    )
    assert used(Key("port", "9999")).told.endswith("nobody else, as far as is known")


def test_a_service_is_used_by_who_calls_it_and_a_path_by_nobody() -> None:
    assert used(Key("service", "mixer"), Finding("r", Ref("Service", "mixer"), 0.9, ())).users == (
        "Deployment/oven (calls it)",
    )
    assert used(Key("path", "/ready")).users == ()


def test_the_keys_are_those_that_were_changed_and_are_blamed() -> None:
    table = Ref("ConfigMap", "words")
    finding = Finding("r", OVEN, 0.9, (quote("log", "OVEN_HEAT is not set"),), (Field(table, "data.level"),))
    edit = Edit(COMMIT, (Change(str(table), "data.level", "1", "2"), Change(str(table), "data.tint", "1", "2")))
    touched = (
        KeyChange(Key("setting", "HEAT_OF_OVEN"), "renamed", "a.py", to="OVEN_HEAT"),
        KeyChange(Key("setting", "OVEN_HEAT"), "changed", "a.py"),
        KeyChange(Key("setting", "OTHER_NAME"), "added", "a.py"),
    )
    past = SourcePast("oven", (SourceCommit(COMMIT, 1, touched),), COMMIT.revision, "")
    found = changed_keys(bakery(), finding, [edit], [past], [COMMIT.revision])
    assert {str(key): told for key, told in found.items()} == {
        "level": ("aaaaaaaaaa",),
        "HEAT_OF_OVEN": ("aaaaaaaaaa of oven",),
        "OVEN_HEAT": ("aaaaaaaaaa of oven",),
    }
    assert changed_keys(bakery(), finding, [edit], [past], []) == {}


def test_keys_and_users_are_bounded_and_the_rest_is_counted() -> None:
    fields = tuple(Field(OVEN, f"spec.template.spec.containers[app].env[NAME_{number}]") for number in range(99))
    edit = Edit(COMMIT, tuple(Change(str(OVEN), f"{field.path}.value", None, "x") for field in fields))
    found = changed_keys(bakery(), Finding("r", OVEN, 0.9, (), fields), [edit], [], [COMMIT.revision])
    assert len(found) == KEYS_MAX
    many = used(Key("setting", "DOUGH_HOST"), DOUGH_HOST=tuple(f"source of s{number} (a)" for number in range(50)))
    assert (len(many.users), many.users_left_out) == (USERS_MAX, 51 - USERS_MAX)
    assert many.told.endswith("and 21 more")
