"""Leaf changes in YAML files: the leaves change, and not one byte beside them."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import Conflict, InvalidInput, NotFound, Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.tree.manifests import apply, declared, leaf

KITE = """\
# The kite service. Ask the sky team before you change it.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: kite
  labels: {app: kite, tier: "1"}   # one line on purpose
  annotations:
    sky.example.org/owner: ana
spec:
  replicas: 2

  selector:
    matchLabels:
      app: kite
  template:
    metadata:
      labels:
        app: kite
    spec:
      containers:
        - name: server   # speaks gRPC
          image: "registry.example.org/kite:1.2"
          args: ["--listen", '7070']
          ports:
            - containerPort: 7070
          env:
            # read at start only
            - name: LEVEL
              value: "3"
            - value: quiet
              name: MODE
          livenessProbe:
            initialDelaySeconds: 5
            grpc:
              port: 7071
          resources:
            limits:
              memory: 64Mi
              cpu: 0.5
          securityContext:
            readOnlyRootFilesystem: true
      volumes:
        - name: scratch
          emptyDir: {}
---
apiVersion: v1
kind: Service
metadata:
  name: kite
spec:
  selector:
    app: kite
  ports:
  - name: grpc
    port: 7070
    targetPort: 7070
"""
FILES = {"apps/kite.yaml": KITE, "kustomization.yaml": "resources: [apps/kite.yaml]\n"}
SERVER = "spec.template.spec.containers[server]"


def change(path: str, before: str | None, after: str | None, about: str = "Deployment/kite") -> Change:
    return Change(about, path, before, after)


def changed_lines(*changes: Change, text: str = KITE) -> list[str]:
    """The lines that differ afterwards, as a diff has them."""
    new = apply({"kite.yaml": text}, changes, namespace="sky").get("kite.yaml") or ""
    diff = list(difflib.unified_diff(text.splitlines(), new.splitlines(), n=0, lineterm=""))[2:]
    return [line for line in diff if not line.startswith("@@")]


@pytest.mark.parametrize(
    ("path", "before", "after", "lines"),
    [
        (
            f"{SERVER}.livenessProbe.grpc.port",
            "7071",
            "7070",
            ["-              port: 7071", "+              port: 7070"],
        ),
        (
            f"{SERVER}.image",
            "registry.example.org/kite:1.2",
            "registry.example.org/kite:1.1",
            [
                '-          image: "registry.example.org/kite:1.2"',
                '+          image: "registry.example.org/kite:1.1"',
            ],
        ),
        (f"{SERVER}.env[LEVEL].value", "3", "4", ['-              value: "3"', '+              value: "4"']),
        (f"{SERVER}.resources.limits.cpu", "0.5", "250m", ["-              cpu: 0.5", "+              cpu: 250m"]),
        (
            f"{SERVER}.securityContext.readOnlyRootFilesystem",
            "True",
            "false",
            ["-            readOnlyRootFilesystem: true", "+            readOnlyRootFilesystem: false"],
        ),
        (
            "metadata.labels.tier",
            "1",
            "2",
            [
                '-  labels: {app: kite, tier: "1"}   # one line on purpose',
                '+  labels: {app: kite, tier: "2"}   # one line on purpose',
            ],
        ),
        (
            "metadata.labels.app.kubernetes.io/part-of",
            None,
            "7",
            [
                '-  labels: {app: kite, tier: "1"}   # one line on purpose',
                '+  labels: {app: kite, tier: "1", app.kubernetes.io/part-of: "7"}   # one line on purpose',
            ],
        ),
        (
            "metadata.annotations.sky.example.org/owner",
            "ana",
            "yes",
            ["-    sky.example.org/owner: ana", '+    sky.example.org/owner: "yes"'],
        ),
        (
            f"{SERVER}.args[1]",
            "7070",
            "7071",
            ["-          args: [\"--listen\", '7070']", "+          args: [\"--listen\", '7071']"],
        ),
        ("spec.template.spec.nodeSelector.disk", None, "9", ["+      nodeSelector:", '+        disk: "9"']),
        ("spec.template.spec.tolerations[0].key", None, "a", ["+      tolerations:", "+        - key: a"]),
        (
            f"{SERVER}.ports[0].containerPort",
            "7070",
            "8080",
            ["-            - containerPort: 7070", "+            - containerPort: 8080"],
        ),
    ],
)
def test_one_leaf_is_one_line(path: str, before: str | None, after: str, lines: list[str]) -> None:
    assert changed_lines(change(path, before, after)) == lines


def test_the_second_document_of_a_file_keeps_its_own_style() -> None:
    lines = changed_lines(
        change("spec.ports[grpc].targetPort", "7070", "grpc", "Service/kite"),
        change("spec.ports[admin].port", None, "9090", "Service/kite"),
    )
    assert lines == ["-    targetPort: 7070", "+    targetPort: grpc", "+  - name: admin", "+    port: 9090"]


def test_a_probe_that_changes_its_kind_is_one_block_for_another() -> None:
    lines = changed_lines(
        change(f"{SERVER}.livenessProbe.grpc.port", "7071", None),
        change(f"{SERVER}.livenessProbe.httpGet.path", None, "/live"),
        change(f"{SERVER}.livenessProbe.httpGet.port", None, "7070"),
    )
    assert lines == [
        "-            grpc:",
        "-              port: 7071",
        "+            httpGet:",
        "+              path: /live",
        "+              port: 7070",
    ]


def test_removing_all_leaves_of_a_part_removes_the_part() -> None:
    lines = changed_lines(
        change(f"{SERVER}.resources.limits.memory", "64Mi", None), change(f"{SERVER}.resources.limits.cpu", "0.5", None)
    )
    assert lines == [
        "-          resources:",
        "-            limits:",
        "-              memory: 64Mi",
        "-              cpu: 0.5",
    ]


@pytest.mark.parametrize("name", ["LEVEL", "MODE"])
def test_a_list_item_goes_whole_whichever_key_comes_first(name: str) -> None:
    values = leaves(declared(FILES, "sky")[Ref("Deployment", "kite")])
    prefix = f"{SERVER}.env[{name}]"
    lines = changed_lines(
        change(f"{prefix}.name", name, None), change(f"{prefix}.value", values[f"{prefix}.value"], None)
    )
    assert len(lines) == 2
    assert all(line.startswith("-") for line in lines)


def test_the_first_key_behind_a_dash_can_go_alone() -> None:
    text = "kind: A\nmetadata:\n  name: a\nitems:\n- one: 1\n  two: 2\n"
    assert changed_lines(change("items[0].one", "1", None, "A/a"), text=text) == ["-- one: 1", "-  two: 2", "+- two: 2"]


def test_an_object_whose_leaves_all_go_takes_its_document_along() -> None:
    service = declared(FILES, "sky")[Ref("Service", "kite")]
    removal = [change(path, text, None, "Service/kite") for path, text in leaves(service).items()]
    new = apply(FILES, removal, namespace="sky")["apps/kite.yaml"]
    assert new == KITE[: KITE.index("---")]


def test_the_last_object_of_a_file_takes_the_file_along() -> None:
    text = "kind: A\nmetadata:\n  name: a\n"
    removal = [change("kind", "A", None, "A/a"), change("metadata.name", "a", None, "A/a")]
    assert apply({"a.yaml": text}, removal, namespace="sky") == {"a.yaml": None}


def test_a_new_object_is_put_beside_its_namesake() -> None:
    new = apply(FILES, account("kite"), namespace="sky")
    expected = "---\napiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: kite\n  namespace: sky\n"
    assert new == {"apps/kite.yaml": KITE + expected}


def test_a_new_object_without_namesake_gets_its_own_file() -> None:
    assert list(apply(FILES, account("crow"), namespace="sky")) == ["crow-serviceaccount.yaml"]


def account(name: str) -> list[Change]:
    values = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata.name": name, "metadata.namespace": "sky"}
    return [change(path, None, text, f"ServiceAccount/{name}") for path, text in sorted(values.items())]


def test_applying_twice_is_applying_once() -> None:
    wanted = [change(f"{SERVER}.livenessProbe.grpc.port", "7071", "7070"), *account("kite")]
    once = {**FILES, **apply(FILES, wanted, namespace="sky")}
    assert apply({path: text for path, text in once.items() if text is not None}, wanted, namespace="sky") == {}


def test_a_leaf_that_is_not_what_the_change_says_is_a_conflict() -> None:
    with pytest.raises(Conflict, match=r"kite\.yaml: Deployment/kite .*expected '7072', found '7071'") as caught:
        apply(FILES, [change(f"{SERVER}.livenessProbe.grpc.port", "7072", "7070")], namespace="sky")
    assert (caught.value.expected, caught.value.seen) == ("7072", "7071")
    with pytest.raises(Conflict, match="found nothing"):
        apply(FILES, [change("spec.paused", "True", "False")], namespace="sky")


def test_unknown_and_ambiguous_objects_are_named() -> None:
    crow = change("spec.replicas", "2", "3", "Deployment/crow")
    with pytest.raises(NotFound, match="Deployment/crow"):
        apply(FILES, [crow], namespace="sky")
    twice = {**FILES, "copy.yaml": KITE}
    with pytest.raises(Rejected, match=r"copy\.yaml"):
        apply(twice, [change("spec.replicas", "2", "3")], namespace="sky")
    with pytest.raises(InvalidInput, match="Kind/name"):
        apply(FILES, [change("spec.replicas", "2", "3", "kite")], namespace="sky")


def test_an_object_of_another_namespace_is_not_taken() -> None:
    other = {**FILES, "other.yaml": KITE.replace("name: kite\n", "name: kite\n  namespace: sea\n")}
    assert list(apply(other, [change("spec.replicas", "2", "3")], namespace="sky")) == ["apps/kite.yaml"]
    assert list(apply(other, [change("spec.replicas", "2", "3")], namespace="sky")) == ["apps/kite.yaml"]
    with pytest.raises(Rejected, match="expected one file"):
        apply(other, [change("spec.replicas", "2", "3")], namespace="sea")


def test_what_an_anchor_shares_is_not_changed() -> None:
    text = "kind: A\nmetadata:\n  name: a\none: &shared 1\ntwo: *shared\n"
    with pytest.raises(Rejected, match="cannot be changed mechanically"):
        apply({"a.yaml": text}, [change("one", "1", "2", "A/a")], namespace="sky")
    block = "kind: A\nmetadata:\n  name: a\none: &shared\n  x: 1\ntwo: *shared\n"
    with pytest.raises(Rejected, match=r"two\.x"):
        apply({"a.yaml": block}, [change("one.x", "1", "2", "A/a")], namespace="sky")


def test_a_file_that_does_not_parse_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"odd\.yaml"):
        apply({**FILES, "odd.yaml": "kite: [\n"}, [change("spec.replicas", "2", "3")], namespace="sky")


CONFIG = "kind: ConfigMap\nmetadata:\n  name: c\ndata:\n  app.conf: |\n    a = 1\n    b = 2\n\n    [c]\n  other: x\n"


def test_one_line_of_a_block_of_text_is_one_line_of_the_diff() -> None:
    lines = changed_lines(
        change("data.app.conf", "a = 1\nb = 2\n\n[c]\n", "a = 1\nb = 3\n\n[c]\n", "ConfigMap/c"), text=CONFIG
    )
    assert lines == ["-    b = 2", "+    b = 3"]


@pytest.mark.parametrize("after", ["one line", "  a\nb\n", "a\nb", "a\x00\nb\n", "", "\n\na\n"])
def test_text_that_does_not_fit_the_block_is_written_in_quotes(after: str) -> None:
    new = apply(
        {"c.yaml": CONFIG}, [change("data.app.conf", "a = 1\nb = 2\n\n[c]\n", after, "ConfigMap/c")], namespace="s"
    )
    values = leaves(declared({"c.yaml": new["c.yaml"] or ""}, "s")[Ref("ConfigMap", "c")])
    assert (values["data.app.conf"], values["data.other"]) == (after, "x")


def test_items_of_a_list_document_can_be_changed() -> None:
    text = "kind: List\nitems:\n- kind: A\n  metadata:\n    name: a\n  size: 1\n"
    assert changed_lines(change("size", "1", "2", "A/a"), text=text) == ["-  size: 1", "+  size: 2"]


def test_windows_line_ends_and_a_missing_last_one_are_kept() -> None:
    text = "kind: A\r\nmetadata:\r\n  name: a\r\nsize: 1"
    new = apply(
        {"a.yaml": text}, [change("size", "1", "2", "A/a"), change("tint.red", None, "3", "A/a")], namespace="s"
    )
    assert new == {"a.yaml": "kind: A\r\nmetadata:\r\n  name: a\r\nsize: 2\r\ntint:\r\n  red: 3"}


def test_a_value_that_was_left_out_is_filled_in() -> None:
    text = "kind: A\nmetadata:\n  name: a\nlimits:\nsize: ~\nlast:\n"
    wanted = [
        change("limits.memory", None, "1Gi", "A/a"),
        change("size", None, "2", "A/a"),
        change("last", None, "x", "A/a"),
    ]
    new = apply({"a.yaml": text}, wanted, namespace="sky")["a.yaml"] or ""
    assert leaves(declared({"a.yaml": new}, "sky")[Ref("A", "a")]) == {
        "kind": "A",
        "metadata.name": "a",
        "limits.memory": "1Gi",
        "size": "2",
        "last": "x",
    }


def test_a_leaf_is_read_as_text_or_absent() -> None:
    kite = Ref("Deployment", "kite")
    assert leaf(FILES, kite, f"{SERVER}.livenessProbe.grpc.port", namespace="sky") == "7071"
    assert leaf(FILES, kite, f"{SERVER}.livenessProbe.httpGet.port", namespace="sky") is None
    with pytest.raises(NotFound, match="Deployment/crow"):
        leaf(FILES, Ref("Deployment", "crow"), "spec.replicas", namespace="sky")


VALUES = st.one_of(
    st.sampled_from(
        ["True", "8080", "0.5", "1Gi", "yes", "null", "~", "a: b", "- x", "#x", "it's", '"', "007", "1e3", "\u00e9", ""]
    ),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=12),
)


@given(st.data())
def test_any_change_gives_exactly_its_leaves(data: st.DataObject) -> None:
    """Random values, removals of whole parts and additions: none is refused, nothing beside them differs."""
    kite = Ref("Deployment", "kite")
    before = leaves(declared(FILES, "sky")[kite])
    free = [
        path for path in before if not path.startswith(("kind", "apiVersion", "metadata.name")) and ".name" not in path
    ]
    wanted = {path: data.draw(VALUES) for path in data.draw(st.lists(st.sampled_from(free), unique=True, max_size=4))}
    changes = [change(path, before[path], value) for path, value in wanted.items()]
    part = data.draw(
        st.sampled_from(
            ["", f"{SERVER}.resources", f"{SERVER}.env[MODE]", "spec.template.spec.volumes", "metadata.labels"]
        )
    )
    if part:
        changes = [one for one in changes if not one.path.startswith(part)]
        changes += [change(path, text, None) for path, text in before.items() if path.startswith(part)]
    added = data.draw(
        st.sampled_from(
            [
                "spec.paused",
                f"{SERVER}.readinessProbe.httpGet.path",
                "metadata.annotations.a.b/c",
                f"{SERVER}.env[NEW].value",
            ]
        )
    )
    changes.append(change(added, None, data.draw(VALUES)))
    files = {**FILES, **apply(FILES, changes, namespace="sky")}
    texts = {path: text for path, text in files.items() if text is not None}
    now = leaves(declared(texts, "sky")[kite])
    for one in changes:
        spelled = {"true": "True", "false": "False"}.get(one.after or "", one.after)
        assert now.get(one.path) in (one.after, spelled)
    touched = {one.path for one in changes} | {f"{SERVER}.env[NEW].name"}
    assert {path: text for path, text in now.items() if path not in touched} == {
        path: text for path, text in before.items() if path not in touched
    }
    assert leaves(declared(texts, "sky")[Ref("Service", "kite")]) == leaves(
        declared(FILES, "sky")[Ref("Service", "kite")]
    )
