"""Charts as people have them, built by the real helm: what is changed, and what is left to a person."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from holdfast import Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import scalars_of
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.built.layouts import changed_files, declared_in
from holdfast_sre.repair.built.releases import parse_release
from tests.sre.repair.charts import (
    APPLICATION,
    ENVIRONMENTS,
    KUBE_TOOLS,
    OVEN,
    PROD,
    RELEASES,
    TEST,
    needs_helm,
    programs,
)

pytestmark = needs_helm

DEPLOYMENT = Ref("Deployment", "shop-oven")
BOX = "spec.template.spec.containers[oven]"
IMAGE, MEMORY = f"{BOX}.image", f"{BOX}.resources.limits.memory"
NEW_IMAGE = (IMAGE, "registry.test/oven:9.9", "registry.test/oven:1.0")
ALONE = ("oven=prod/shop",)
PROGRAMS = programs()

TILL = {
    "till/Chart.yaml": "apiVersion: v2\nname: till\nversion: 1.0.0\n",
    "till/values.yaml": "image: registry.test/till:1.0   # ours\n",
    "till/templates/till.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: '{{ .Release.Name }}-till'}\n"
    "spec: {template: {spec: {containers: [{name: till, image: '{{ .Values.image }}'}]}}}\n",
}
TILL_IMAGE = Change(
    "Deployment/shop-till",
    "spec.template.spec.containers[till].image",
    "registry.test/till:1.0",
    "registry.test/till:0.9",
)
REDIS = "dependencies: [{name: till, version: 1.x, alias: cash, repository: 'https://charts.test'}]\n"


def inside(files: dict[str, str]) -> dict[str, str]:
    return {f"oven/charts/{path}": text for path, text in files.items()}


def changed(
    files: dict[str, str], *changes: Change, releases: tuple[str, ...] = RELEASES, namespace: str = "prod"
) -> dict[str, str]:
    """The changed files, after a look that what is built then has the changes, and every other release is as it was."""
    named = tuple(parse_release(text, files) for text in releases)
    found = changed_files(files, changes, namespace=namespace, renderer=PROGRAMS, releases=named)
    after = {path: text for path, text in {**files, **found}.items() if text is not None}
    built = declared_in(after, namespace, PROGRAMS, named)
    for change in changes:
        value = scalars_of(built[Ref(*change.object.split("/"))]).get(change.path)
        assert (None if value is None else str(value)) == change.after
    other = "test" if namespace == "prod" else "prod"
    assert declared_in(after, other, PROGRAMS, named) == declared_in(files, other, PROGRAMS, named)
    return {path: text or "" for path, text in found.items()}


def on(path: str, before: str | None, after: str | None) -> Change:
    return Change(str(DEPLOYMENT), path, before, after)


def only_lines(before: str, after: str) -> list[str]:
    """The lines that are new; every line of before that is not changed is still there, in order."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in new if line not in old]


def test_a_release_declares_what_it_installs_and_no_hooks() -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: migrate, annotations: {helm.sh/hook: pre-install}}\n"
    crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.b.c}\n"
    files = {
        **ENVIRONMENTS,
        "oven/templates/job.yaml": job,
        "oven/templates/tests/t.yaml": job,
        "oven/crds/c.yaml": crd,
    }
    named = tuple(parse_release(text, files) for text in RELEASES)
    found = declared_in(files, "prod", PROGRAMS, named)
    assert set(found) == {DEPLOYMENT, Ref("Service", "shop-oven"), Ref("ConfigMap", "shop-oven")}
    values = scalars_of(found[DEPLOYMENT])
    assert (values["spec.replicas"], values[IMAGE]) == (3, "registry.test/oven:9.9")
    assert values[f"{BOX}.env[NAMESPACE].value"] == "prod"
    assert "flour = 500" in found[Ref("ConfigMap", "shop-oven")]["data"]["recipe.ini"]
    assert set(declared_in(files, "staging", PROGRAMS, named)) == set()


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (on(*NEW_IMAGE), ['  tag: "1.0"   # bumped']),
        (on(IMAGE, "registry.test/oven:9.9", "registry.test/stove:9.9"), ["  repository: registry.test/stove"]),
        (on("spec.replicas", "3", "2"), ["replicaCount: 2   # for three tills"]),
        (on(MEMORY, "64Mi", "128Mi"), ["resources:", "  limits:", "    memory: 128Mi"]),
        (on(f"{BOX}.resources.limits.cpu", "100m", None), ["resources:", "  limits:", "    cpu: null"]),
        (on(f"{BOX}.resources.requests.memory", None, "64Mi"), ["resources:", "  requests:", "    memory: 64Mi"]),
        (on(f"{BOX}.ports[http].containerPort", "8000", "8080"), ["port: 8080"]),
        (
            on(f"{BOX}.livenessProbe.httpGet.path", "/healthz", "/ready"),
            ["livenessProbe:", "  httpGet:", "    path: /ready"],
        ),
        (
            on(f"{BOX}.livenessProbe.httpGet.port", "http", "8000"),
            ["livenessProbe:", "  httpGet:", "    port: 8000"],
        ),
        (on(f"{BOX}.env[LEVEL].value", "info", "debug"), ["env:", "  LEVEL: debug"]),
        (on(f"{BOX}.env[COLOUR].value", None, "red"), ["env:", "  COLOUR: red"]),
        (Change("ConfigMap/shop-oven", "data.heat", "220", "230"), ["heat: 230"]),
        (Change("Service/shop-oven", "spec.ports[0].port", "80", "81"), ["service:", "  port: 81"]),
    ],
    ids=lambda each: each.path.replace(BOX, "") if isinstance(each, Change) else "",
)
def test_the_values_of_one_environment_are_changed_alone(change: Change, lines: list[str]) -> None:
    """Values that its file has are changed there, comments kept; those that it does not mention are added to it. The
    checksum of the configuration follows by itself."""
    found = changed(ENVIRONMENTS, change)
    assert list(found) == [PROD]
    assert only_lines(ENVIRONMENTS[PROD], found[PROD]) == lines
    assert found[PROD].startswith("# production\n")


def test_the_only_release_of_a_chart_has_its_defaults_changed() -> None:
    found = changed(OVEN, on(MEMORY, "64Mi", "128Mi"), releases=ALONE)
    assert found == {"oven/values.yaml": OVEN["oven/values.yaml"].replace("memory: 64Mi", "memory: 128Mi")}


def test_defaults_are_left_alone_where_a_release_may_be_unknown() -> None:
    with pytest.raises(Rejected, match=r"oven/values-prod\.yaml may be of a release that nobody named"):
        changed(ENVIRONMENTS, on(MEMORY, "64Mi", "128Mi"), releases=ALONE)
    envs = {**OVEN, "envs/prod.yaml": "replicaCount: 2\n", TEST: ENVIRONMENTS[TEST]}
    found = changed(envs, on(MEMORY, "64Mi", "128Mi"), releases=("oven=prod/shop:envs/prod.yaml",))
    assert list(found) == ["envs/prod.yaml"]


def test_changes_that_one_value_brings_are_made_at_once() -> None:
    both = OVEN["oven/templates/deployment.yaml"].replace("periodSeconds", "x") + (
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-heat'}\n"
        "data: {heat: '{{ .Values.heat }}'}\n"
    )
    files = {**OVEN, "oven/templates/deployment.yaml": both}
    asked = [Change(f"ConfigMap/shop-{name}", "data.heat", "220", "230") for name in ("oven", "heat")]
    assert list(changed(files, *asked, releases=ALONE)) == ["oven/values.yaml"]
    with pytest.raises(Rejected, match="no single place"):
        changed(files, asked[0], releases=ALONE)


def test_what_the_template_fixes_is_for_a_person() -> None:
    target = Change("Service/shop-oven", "spec.ports[0].targetPort", "http", "8000")
    with pytest.raises(Rejected, match="no single place in the sources of oven"):
        changed(ENVIRONMENTS, target)


# -- Applications ----------------------------------------------------------------------------------------------------

FILES_OF_VALUES = "      valueFiles:\n        - values-prod.yaml\n"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ("      valuesObject:\n        image: {tag: 9.9}   # now\n", '        image: {tag: "1.0"}   # now'),
        ("      values: |\n        image:\n          tag: 9.9   # now\n", '          tag: "1.0"   # now'),
        ("      parameters:\n        - {name: image.tag, value: '9.9'}   # now\n", "value: '1.0'}   # now"),
    ],
    ids=["object", "text", "parameters"],
)
def test_values_in_an_application_are_a_place_too(values: str, line: str) -> None:
    files = {**OVEN, "apps/shop.yaml": APPLICATION.replace(FILES_OF_VALUES, values)}
    found = changed(files, on(*NEW_IMAGE), releases=())
    assert list(found) == ["apps/shop.yaml"]
    assert line in found["apps/shop.yaml"]
    assert len(only_lines(files["apps/shop.yaml"], found["apps/shop.yaml"])) == 1


def test_an_applications_value_file_is_changed_and_not_what_two_of_them_share() -> None:
    other = APPLICATION.replace("name: shop", "name: shop-test").replace("namespace: prod", "namespace: test")
    files = {**ENVIRONMENTS, "apps/prod.yaml": APPLICATION}
    files["apps/test.yaml"] = other.replace("helm:", "helm:\n      releaseName: shop")
    assert list(changed({**ENVIRONMENTS, "apps/prod.yaml": APPLICATION}, on(*NEW_IMAGE), releases=())) == [PROD]
    found = changed(files, on(*NEW_IMAGE), releases=())
    assert list(found) == ["apps/prod.yaml"], "both have the value file, so the Application gets a value of its own"
    assert "valuesObject:" in found["apps/prod.yaml"]


# -- charts in charts ------------------------------------------------------------------------------------------------


def test_a_chart_in_the_chart_is_changed_by_the_release() -> None:
    files = {**ENVIRONMENTS, **inside(TILL)}
    assert only_lines(files[PROD], changed(files, TILL_IMAGE)[PROD]) == ["till:", "  image: registry.test/till:0.9"]
    alone = changed({**OVEN, **inside(TILL)}, TILL_IMAGE, releases=ALONE)
    assert alone == {"oven/charts/till/values.yaml": "image: registry.test/till:0.9   # ours\n"}


def test_a_copy_of_somebody_elses_chart_is_not_written_to() -> None:
    files = {**OVEN, **inside(TILL), "oven/Chart.yaml": OVEN["oven/Chart.yaml"] + REDIS}
    found = changed(files, TILL_IMAGE, releases=ALONE)
    assert only_lines(files["oven/values.yaml"], found["oven/values.yaml"]) == [
        "cash:",
        "  image: registry.test/till:0.9",
    ]


def test_a_packed_chart_is_built_and_its_values_are_given_by_the_release(tmp_path: Path) -> None:
    for path, text in TILL.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    helm = KUBE_TOOLS / "helm"
    command = [str(helm) if helm.exists() else "helm", "package", "till", "--destination", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    packed = (tmp_path / "till-1.0.0.tgz").read_bytes().decode(errors="surrogateescape")
    files = {**ENVIRONMENTS, "oven/charts/till-1.0.0.tgz": packed, "oven/Chart.yaml": OVEN["oven/Chart.yaml"] + REDIS}
    assert only_lines(files[PROD], changed(files, TILL_IMAGE)[PROD]) == ["cash:", "  image: registry.test/till:0.9"]
    assert list(changed(files, on(*NEW_IMAGE))) == [PROD]


def test_a_chart_elsewhere_in_the_tree_is_built_from_there() -> None:
    listed = "dependencies: [{name: till, version: 1.x, repository: 'file://../till'}]\n"
    files = {**OVEN, **TILL, "oven/Chart.yaml": OVEN["oven/Chart.yaml"] + listed}
    assert list(changed(files, TILL_IMAGE, releases=ALONE)) == ["till/values.yaml"]


def test_a_chart_that_is_not_there_is_not_fetched() -> None:
    files = {**ENVIRONMENTS, "oven/Chart.yaml": OVEN["oven/Chart.yaml"] + REDIS}
    with pytest.raises(Rejected, match=r"without the charts till, .* not fetched; commit them into charts/"):
        changed(files, on(*NEW_IMAGE))


# -- what charts do besides ------------------------------------------------------------------------------------------

SECRET = """\
{{- $old := lookup "v1" "Secret" .Release.Namespace "password" }}
apiVersion: v1
kind: Secret
metadata: {name: password}
data:
  password: {{ if $old }}{{ $old.data.password }}{{ else }}{{ randAlphaNum 20 | b64enc }}{{ end }}
"""


def test_made_up_values_are_not_taken_for_a_change() -> None:
    files = {**ENVIRONMENTS, "oven/templates/secret.yaml": SECRET}
    named = tuple(parse_release(text, files) for text in RELEASES)
    found = changed_files(files, [on(*NEW_IMAGE)], namespace="prod", renderer=PROGRAMS, releases=named)
    assert list(found) == [PROD]
    password = declared_in(files, "prod", PROGRAMS, named)[Ref("Secret", "password")]["data"]["password"]
    with pytest.raises(Rejected, match="gives it another value at each build"):
        changed(files, Change("Secret/password", "data.password", password, "YQ=="))


def test_a_schema_of_values_is_kept() -> None:
    schema = '{"properties": {"replicaCount": {"type": "integer", "maximum": 5}}}'
    files = {**ENVIRONMENTS, "oven/values.schema.json": schema}
    assert list(changed(files, on("spec.replicas", "3", "5"))) == [PROD]
    with pytest.raises(Rejected, match="no single place"):
        changed(files, on("spec.replicas", "3", "6"))


def test_another_environment_that_does_not_build_keeps_what_it_is_built_from() -> None:
    broken = '{{ if eq .Release.Namespace "test" }}{{ fail "not here" }}{{ end }}'
    files = {**ENVIRONMENTS, "oven/templates/broken.yaml": broken}
    named = tuple(parse_release(text, files) for text in RELEASES)
    assert DEPLOYMENT in declared_in(files, "prod", PROGRAMS, named)
    with pytest.raises(Rejected, match="not here"):
        declared_in(files, "test", PROGRAMS, named)
    with pytest.raises(Rejected, match=r"oven \(release test/shop\) does not build"):
        changed_files(files, [on(*NEW_IMAGE)], namespace="prod", renderer=PROGRAMS, releases=named)
    moved = {**{path: text for path, text in files.items() if path != PROD}, "envs/prod.yaml": files[PROD]}
    named = (parse_release("oven=prod/shop:envs/prod.yaml", moved), named[1])
    found = changed_files(moved, [on(*NEW_IMAGE)], namespace="prod", renderer=PROGRAMS, releases=named)
    assert list(found) == ["envs/prod.yaml"]


@pytest.mark.parametrize(
    "text", ["{{ .Values.nothing.here }}", "{{ include `nowhere` . }}", "{{ if }}", "a: [1", "kind: 7\nmetadata: []\n"]
)
def test_templates_that_do_not_build_are_told_in_one_line(text: str) -> None:
    files = {**ENVIRONMENTS, "oven/templates/odd.yaml": text}
    named = tuple(parse_release(each, files) for each in RELEASES)
    with pytest.raises(Rejected, match=r"helm does not build it: [^\n]*$"):
        declared_in(files, "prod", PROGRAMS, named)
