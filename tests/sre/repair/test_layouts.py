"""Manifests that a program builds: one place of the sources is changed, what is built differs in that leaf alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdfast import InvalidInput, Rejected, Unavailable
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.diagnosis.manifest_paths import leaves
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.built.layouts import changed_files, declared_in
from holdfast_sre.repair.built.releases import roots_of
from holdfast_sre.repair.built.renderers import Programs
from holdfast_sre.repair.tree.roots import Root
from tests.sre.repair.charts import needs_kustomize, programs

OVEN = Ref("Deployment", "oven")
BOX = "spec.template.spec.containers[app]"
IMAGE = f"{BOX}.image"

DEPLOYMENT = """\
# the oven
apiVersion: apps/v1
kind: Deployment
metadata:
  name: oven
spec:
  replicas: 1   # one is enough
  selector: {matchLabels: {app: oven}}
  template:
    metadata: {labels: {app: oven}}
    spec:
      containers:
      - name: app
        image: registry.test/oven:1.0
        resources:
          limits:
            memory: 64Mi
            cpu: 100m
"""
KUSTOMIZE: dict[str, str] = {
    "base/oven.yaml": DEPLOYMENT,
    "base/kustomization.yaml": "resources:\n- oven.yaml\n",
    "prod/kustomization.yaml": "# production\nresources:\n- ../base\nnamespace: prod\nimages:\n"
    "- name: registry.test/oven\n  newTag: '9.9'   # bumped\npatches:\n- path: memory.yaml\n",
    "prod/memory.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: oven}\nspec:\n  template:\n    spec:\n"
    "      containers:\n      - name: app\n        resources: {limits: {memory: 32Mi}}   # trimmed\n",
    "test/kustomization.yaml": "resources:\n- ../base\nnamespace: test\n",
}


def change(path: str, before: str | None, after: str | None) -> Change:
    return Change(str(OVEN), path, before, after)


def test_what_is_built_is_told_from_what_is_plain() -> None:
    assert roots_of(KUSTOMIZE) == (Root("kustomize", "prod"), Root("kustomize", "test"))
    assert roots_of({"a.yaml": DEPLOYMENT}) == ()
    listing = {"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": DEPLOYMENT}
    assert roots_of(listing) == (), "a list of files that stand there shapes nothing"
    spaces = {path: text for path, text in KUSTOMIZE.items() if "memory" not in path}
    spaces["prod/kustomization.yaml"] = "resources:\n- ../base\nnamespace: prod\n"
    assert len(roots_of(spaces)) == 2, "what one base gives to two namespaces is not plain"
    chart = {"c/Chart.yaml": "name: c\n", "c/templates/a.yaml": "{{ x }}"}
    assert roots_of(chart) == (), "nobody said which release it has"
    assert roots_of(chart, (Root("helm", "c", "shop"),)) == (Root("helm", "c", "shop"),)


def test_without_its_program_a_built_tree_is_for_a_person() -> None:
    with pytest.raises(Rejected, match="built by kustomize, which is not there"):
        changed_files(KUSTOMIZE, [change(IMAGE, "a", "b")], namespace="prod")
    with pytest.raises(Rejected, match="built by kustomize"):
        declared_in(KUSTOMIZE, "prod")
    with pytest.raises(Unavailable, match="not on PATH"):
        declared_in(KUSTOMIZE, "prod", Programs(path="/nowhere"))


@needs_kustomize
def test_a_tree_declares_what_is_built() -> None:
    values = leaves(declared_in(KUSTOMIZE, "prod", programs())[OVEN])
    assert values[IMAGE] == "registry.test/oven:9.9"
    assert values[f"{BOX}.resources.limits.memory"] == "32Mi"


@needs_kustomize
@pytest.mark.parametrize(
    ("namespace", "wanted", "path", "line"),
    [
        (
            "prod",
            change(IMAGE, "registry.test/oven:9.9", "registry.test/oven:1.1"),
            "prod/kustomization.yaml",
            "  newTag: '1.1'   # bumped",
        ),
        (
            "prod",
            change(f"{BOX}.resources.limits.memory", "32Mi", "64Mi"),
            "prod/memory.yaml",
            "{memory: 64Mi}}   # trimmed",
        ),
    ],
    ids=["image transformer", "patch"],
)
def test_the_one_place_of_an_overlay_is_changed(namespace: str, wanted: Change, path: str, line: str) -> None:
    files = changed_files(KUSTOMIZE, [wanted], namespace=namespace, renderer=programs())
    assert list(files) == [path]
    assert line in (files[path] or "")
    built = leaves(declared_in({**KUSTOMIZE, path: files[path] or ""}, namespace, programs())[OVEN])
    assert built[wanted.path] == wanted.after


@needs_kustomize
def test_what_would_change_another_overlay_too_is_for_a_person() -> None:
    """The replicas stand in the base, which both overlays build on."""
    with pytest.raises(Rejected, match="no single place"):
        changed_files(KUSTOMIZE, [change("spec.replicas", "1", "2")], namespace="prod", renderer=programs())


@needs_kustomize
def test_a_base_of_one_overlay_may_be_changed() -> None:
    alone = {path: text for path, text in KUSTOMIZE.items() if not path.startswith("test/")}
    files = changed_files(alone, [change("spec.replicas", "1", "2")], namespace="prod", renderer=programs())
    assert files == {"base/oven.yaml": DEPLOYMENT.replace("replicas: 1 ", "replicas: 2 ")}


@needs_kustomize
def test_sources_that_do_not_build_are_told() -> None:
    broken = {**KUSTOMIZE, "prod/kustomization.yaml": "resources:\n- nowhere.yaml\nnamePrefix: a-\n"}
    with pytest.raises(Rejected, match="kustomize does not build it"):
        declared_in(broken, "prod", programs())


@pytest.mark.parametrize(
    "entry", ["https://example.org/x.yaml", "github.com/a/b//deploy?ref=v1", "git@example.org:a/b.git", "ssh://h/x"]
)
def test_nothing_is_fetched(entry: str) -> None:
    remote = {**KUSTOMIZE, "prod/kustomization.yaml": f"namespace: prod\nresources:\n- {entry}\n"}
    with pytest.raises(Rejected, match="elsewhere"):
        Programs(path="/nowhere").render(remote, Root("kustomize", "prod"))
    flow = {**KUSTOMIZE, "prod/kustomization.yaml": f"namespace: prod\nresources: [../base, '{entry}']\n"}
    with pytest.raises(Rejected, match="elsewhere"):
        Programs(path="/nowhere").render(flow, Root("kustomize", "prod"))


HELM = f"""#!{sys.executable}
import pathlib, re, sys
import yaml
assert sys.argv[1] == "template"
chart = pathlib.Path(sys.argv[3])
values = yaml.safe_load((chart / "values.yaml").read_text())
def value(match):
    found = values
    for step in match[1].split("."):
        found = found[step]
    return str(found)
for path in sorted((chart / "templates").glob("*.yaml")):
    print("---")
    print(re.sub(r"{{{{ [.]Values[.]([a-zA-Z.]+) }}}}", value, path.read_text()))
"""
RELEASES = (Root("helm", "chart", "shop"),)
CHART = {
    "chart/Chart.yaml": "apiVersion: v2\nname: oven\nversion: 1.0.0\n",
    "chart/values.yaml": "# what people set\nimage:\n  name: registry.test/oven\n  tag: 9.9   # bumped\nmemory: 64Mi\n",
    "chart/templates/oven.yaml": DEPLOYMENT.replace(
        "registry.test/oven:1.0", "{{ .Values.image.name }}:{{ .Values.image.tag }}"
    ).replace("64Mi", "{{ .Values.memory }}"),
}


@pytest.fixture
def helm(tmp_path: Path) -> Programs:
    """A program that builds charts of the simplest kind, run as helm is."""
    program = tmp_path / "bin" / "helm"
    program.parent.mkdir()
    program.write_text(HELM)
    program.chmod(0o755)
    return Programs(path=f"{program.parent}:/usr/bin:/bin")


def test_the_value_of_a_chart_is_changed_where_people_set_it(helm: Programs) -> None:
    assert leaves(declared_in(CHART, "bakery", helm, RELEASES)[OVEN])[IMAGE] == "registry.test/oven:9.9"
    wanted = change(IMAGE, "registry.test/oven:9.9", "registry.test/oven:1.0")
    files = changed_files(CHART, [wanted], namespace="bakery", renderer=helm, releases=RELEASES)
    assert list(files) == ["chart/values.yaml"]
    assert "# what people set" in (files["chart/values.yaml"] or "")
    after = {**CHART, "chart/values.yaml": files["chart/values.yaml"] or ""}
    built = leaves(declared_in(after, "bakery", helm, RELEASES)[OVEN])
    assert built[IMAGE] == "registry.test/oven:1.0"


def test_a_value_that_a_chart_fixes_in_its_template_is_for_a_person(helm: Programs) -> None:
    with pytest.raises(Rejected, match="no single place"):
        changed_files(CHART, [change("spec.replicas", "1", "2")], namespace="bakery", renderer=helm, releases=RELEASES)


def test_plain_files_beside_a_chart_are_changed_where_they_stand(helm: Programs) -> None:
    files = {**CHART, "plain/till.yaml": DEPLOYMENT.replace("oven", "till")}
    wanted = Change("Deployment/till", "spec.replicas", "1", "2")
    assert list(changed_files(files, [wanted], namespace="bakery", renderer=helm, releases=RELEASES)) == [
        "plain/till.yaml"
    ]


@pytest.mark.parametrize("path", ["/etc/x.yaml", "../x.yaml", "a/../../x.yaml"])
def test_sources_stay_inside_the_folder_that_is_built(path: str, helm: Programs) -> None:
    with pytest.raises(InvalidInput, match="relative one inside"):
        helm.render({**CHART, path: "a: 1\n"}, Root("helm", "", "shop"))


@needs_kustomize
def test_an_overlay_is_built_from_more_than_yaml() -> None:
    files = {
        **KUSTOMIZE,
        "prod/kustomization.yaml": KUSTOMIZE["prod/kustomization.yaml"]
        + "configMapGenerator:\n- name: recipe\n  files: [recipe.ini]\n  options: {disableNameSuffixHash: true}\n",
        "prod/recipe.ini": "flour = 500\n",
    }
    recipe = declared_in(files, "prod", programs())[Ref("ConfigMap", "recipe")]
    assert recipe["data"] == {"recipe.ini": "flour = 500\n"}
    wanted = change(IMAGE, "registry.test/oven:9.9", "registry.test/oven:1.1")
    assert list(changed_files(files, [wanted], namespace="prod", renderer=programs())) == ["prod/kustomization.yaml"]
