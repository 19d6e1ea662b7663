"""Which releases a chart has: named, told by Argo CD Applications, told by the cluster. Nothing here runs a program."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import InvalidInput, Rejected
from holdfast_sre.diagnosis.findings import Change
from holdfast_sre.evidence.snapshot import Ref
from holdfast_sre.repair.built.applications import inline_values
from holdfast_sre.repair.built.layouts import changed_files, declared_in, is_built, plain_files
from holdfast_sre.repair.built.releases import parse_release, roots_of, told_by_cluster, unreleased
from holdfast_sre.repair.built.renderers import Programs
from holdfast_sre.repair.tree.roots import Dependency, Root, Said, charts_of, dependencies_of, inputs_of, sources_among
from tests.sre.repair.charts import APPLICATION, ENVIRONMENTS, OVEN, PROD, RELEASES, TEST

TILL = {
    "oven/charts/till/Chart.yaml": "apiVersion: v2\nname: till\nversion: 1.0.0\n",
    "oven/charts/till/values.yaml": "image: registry.test/till:1.0\n",
}
PLAIN = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: till}\ndata: {tone: low}\n"


def named(text: str, files: dict[str, str] = ENVIRONMENTS) -> Root:
    return parse_release(text, files)


def test_a_release_is_named_as_people_name_it_to_helm() -> None:
    assert named(RELEASES[0]) == Root("helm", "oven", "shop", "prod", (PROD,))
    assert named(RELEASES[1]) == Root("helm", "oven", "shop", "test", (TEST,))
    assert named(f"./oven/=shop:{TEST},values-prod.yaml") == Root("helm", "oven", "shop", "", (TEST, PROD))
    top = {"Chart.yaml": "name: oven\n", "values.yaml": ""}
    assert named(".=shop", top) == Root("helm", "", "shop")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("oven", "expected CHART="),
        ("oven=", "expected CHART="),
        ("oven=shop:", "expected CHART="),
        ("oven=Shop", "expected CHART="),
        ("oven=--post-renderer", "expected CHART="),
        ("oven=a/b/c", "expected CHART="),
        ("till=shop", r"expected a chart of the manifests \(oven\), saw 'till'"),
        ("../oven=shop", "expected a chart"),
        ("oven=shop:nowhere.yaml", "expected the value file 'nowhere.yaml'"),
        ("oven=shop:https://values.test/x.yaml", "expected the value file"),
    ],
)
def test_a_release_that_is_none_is_refused(text: str, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        named(text)


def test_an_application_names_its_release() -> None:
    files = {**ENVIRONMENTS, "apps/shop.yaml": APPLICATION}
    said = Said("apps/shop.yaml", "shop", "spec.source")
    assert roots_of(files) == (Root("helm", "oven", "shop", "prod", (PROD,), said),)
    files["apps/shop.yaml"] = APPLICATION.replace("helm:", "helm:\n      releaseName: bakery")
    assert roots_of(files)[0].release == "bakery"
    same = Root("helm", "oven", "bakery", "prod")
    assert roots_of(files, (same,)) == (same,), "what is named goes before what the tree says"


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("values-prod.yaml", PROD),
        ("../envs/test.yaml", TEST),
        ("/envs/test.yaml", TEST),
        ("$values/envs/test.yaml", TEST),
        ("https://values.test/x.yaml", "https://values.test/x.yaml"),
    ],
)
def test_value_files_of_an_application_are_found_in_the_tree(entry: str, path: str) -> None:
    text = APPLICATION.replace("values-prod.yaml", entry)
    assert roots_of({**ENVIRONMENTS, "a.yaml": text})[0].values == (path,)
    below = text.replace("path: oven", "path: deploy/oven").replace(
        "/envs", "/deploy/envs" if entry[0] in "/$" else "/envs"
    )
    assert roots_of({**ENVIRONMENTS, "a.yaml": below})[0].values == (path,), (
        "of a repository only a folder is looked at"
    )


def test_an_application_of_several_sources_and_one_that_is_none() -> None:
    several = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop}
spec:
  destination: {namespace: prod}
  sources:
  - {repoURL: https://git.test/values.git, ref: values}
  - repoURL: https://git.test/bakery.git
    path: ./oven
    helm: {valueFiles: [$values/envs/test.yaml, gone.yaml], ignoreMissingValueFiles: true}
  - {repoURL: https://charts.test, chart: redis}
"""
    (root,) = roots_of({**ENVIRONMENTS, "a.yaml": several})
    assert (root.values, root.said) == ((TEST,), Said("a.yaml", "shop", "spec.sources[1]"))
    for odd in ("spec: 7\n", "spec: {source: []}\n", "", "spec: {source: {path: oven, helm: {valueFiles: 7}}}\n"):
        text = f"apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {{name: shop}}\n{odd}"
        assert roots_of({**OVEN, "a.yaml": text}) == ()


def test_values_in_an_application_are_given_as_argo_gives_them() -> None:
    text = APPLICATION.replace("helm:", "helm:\n      values: 'a: 1'\n      valuesObject: {b: 2}")
    files = {**ENVIRONMENTS, "a.yaml": text.replace("helm:", "helm:\n      parameters: [{name: c, value: 'x,y'}]")}
    assert inline_values(files, roots_of(files)[0]) == ('{"b": 2}', ("--set=c=x\\,y",))
    files["a.yaml"] = text.replace("helm:", "helm:\n      parameters: [{name: c, value: true, forceString: true}]")
    assert inline_values(files, roots_of(files)[0]).options == ("--set-string=c=true",)
    files["a.yaml"] = APPLICATION.replace("helm:", "helm:\n      fileParameters: [{name: c, path: x}]")
    with pytest.raises(Rejected, match="fileParameters"):
        inline_values(files, roots_of(files)[0])


@pytest.mark.parametrize("name", ["'--post-renderer=x'", "Shop", "a b"])
def test_names_from_a_tree_are_no_arguments(name: str) -> None:
    files = {**OVEN, "a.yaml": APPLICATION.replace("name: shop", f"name: {name}")}
    with pytest.raises(Rejected, match="names such as a cluster takes"):
        declared_in(files, "prod", Programs(path="/nowhere"))


@pytest.mark.parametrize("entry", ["https://values.test/x.yaml", "../../etc/passwd", "secrets://x", "a,b.yaml"])
def test_values_from_elsewhere_are_not_fetched(entry: str) -> None:
    files = {**OVEN, "a.yaml": APPLICATION.replace("values-prod.yaml", entry)}
    with pytest.raises(Rejected, match="in the tree, saw none; nothing is fetched"):
        declared_in(files, "prod", Programs(path="/nowhere"))


def live(**notes: str) -> dict[Ref, Any]:
    metadata = {"name": "shop-oven", "labels": {"helm.sh/chart": "oven-0.3.0"}, "annotations": notes}
    return {Ref("Deployment", "shop-oven"): {"kind": "Deployment", "metadata": metadata}}


def test_the_cluster_tells_the_only_release() -> None:
    wrote = live(**{"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "prod"})
    assert told_by_cluster(OVEN, wrote, "prod") == (Root("helm", "oven", "shop", "prod"),)
    assert told_by_cluster(OVEN, live(), "prod") == ()
    assert told_by_cluster({**OVEN, "a.yaml": APPLICATION}, wrote, "prod") == (), "the tree says it already"
    assert told_by_cluster(ENVIRONMENTS, wrote, "prod") == (), "which value files it has is not written there"
    other = {Ref("Service", "b"): {**wrote[Ref("Deployment", "shop-oven")]}}
    other[Ref("Service", "b")]["metadata"] = {
        **wrote[Ref("Deployment", "shop-oven")]["metadata"],
        "annotations": {"meta.helm.sh/release-name": "b"},
    }
    assert told_by_cluster(OVEN, wrote | other, "prod") == (), "two releases"


def test_charts_in_charts_are_their_parents() -> None:
    files = {**OVEN, **TILL, "lib/Chart.yaml": "name: lib\ntype: library\n"}
    assert charts_of(files) == ("oven",)
    assert list(dependencies_of(files, "oven")) == [Dependency("oven/charts/till", "till", False)]
    listed = "dependencies: [{name: till, alias: cash, repository: https://charts.test}]\n"
    files["oven/Chart.yaml"] = OVEN["oven/Chart.yaml"] + listed
    assert list(dependencies_of(files, "oven")) == [Dependency("oven/charts/till", "cash", True)]
    packed = {**OVEN, "oven/Chart.yaml": files["oven/Chart.yaml"], "oven/charts/till-1.0.0.tgz": ""}
    assert list(dependencies_of(packed, "oven")) == [Dependency("oven/charts/till-1.0.0.tgz", "cash", True)]


def test_a_chart_that_lies_in_the_tree_is_put_in_its_place() -> None:
    files = {path.replace("oven/charts/till", "libs/till"): text for path, text in TILL.items()}
    listed = "dependencies: [{name: till, repository: 'file://../libs/till'}]\n"
    files |= {**OVEN, "oven/Chart.yaml": OVEN["oven/Chart.yaml"] + listed}
    assert {path for path in inputs_of(files, named("oven=shop", files)) if "till" in path} == set(TILL)
    assert unreleased(files) == ("oven",), "the other one is a part of it"


def test_what_a_program_reads_is_taken_from_a_folder() -> None:
    paths = ["a.yaml", "src/x.py", "oven/Chart.yaml", "oven/files/recipe.ini", "oven/charts/till-1.0.0.tgz"]
    assert sources_among(paths) == ["a.yaml", "oven/Chart.yaml", "oven/files/recipe.ini", "oven/charts/till-1.0.0.tgz"]
    assert sources_among(["a.yaml", "src/x.py"]) == ["a.yaml"]


def test_a_chart_of_no_release_is_told_and_leaves_the_rest_alone() -> None:
    with pytest.raises(Rejected, match="--release oven=NAMESPACE/NAME"):
        declared_in(OVEN, "prod", Programs(path="/nowhere"))
    files = {**OVEN, "kustomization.yaml": "resources: [till.yaml]\n", "till.yaml": PLAIN}
    assert set(declared_in(files, "prod")) == {Ref("ConfigMap", "till")}
    assert "till.yaml" in plain_files(files), "a list of plain files stays plain beside a chart"
    tone = Change("ConfigMap/till", "data.tone", "low", "high")
    assert list(changed_files(files, [tone], namespace="prod")) == ["till.yaml"]
    heat = Change("ConfigMap/shop-oven", "data.heat", "220", "230")
    with pytest.raises(Rejected, match="found 0; oven: no release of this chart is known"):
        changed_files(files, [heat], namespace="prod", renderer=Programs(path="/nowhere"))
    releases = (named("oven=shop", files),)
    assert [is_built(files, [each], namespace="prod", releases=releases) for each in (tone, heat)] == [False, True]
