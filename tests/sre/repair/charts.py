"""Charts as people have them, and the real programs where they are at hand."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from holdfast_sre.repair.built.renderers import Programs

KUBE_TOOLS = Path(__file__).parents[3] / ".venv" / "kube-tools"
KUBE_PATH = f"{KUBE_TOOLS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"

needs_helm = pytest.mark.skipif(
    shutil.which("helm", path=KUBE_PATH) is None, reason="helm is not on PATH; scripts/kube-tools brings it"
)
needs_kustomize = pytest.mark.skipif(
    all(shutil.which(name, path=KUBE_PATH) is None for name in ("kustomize", "kubectl")),
    reason="neither kustomize nor kubectl is on PATH; scripts/kube-tools brings kubectl",
)


def programs() -> Programs:
    """The real programs."""
    return Programs(path=KUBE_PATH)


HELPERS = """\
{{/* The name of all that belongs to a release. */}}
{{- define "oven.fullname" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- define "oven.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "oven.fullname" . }}
  labels:
    {{- include "oven.labels" . | nindent 4 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  selector:
    matchLabels: {app.kubernetes.io/instance: {{ .Release.Name }}}
  template:
    metadata:
      annotations:
        checksum/config: {{ include (print $.Template.BasePath "/config.yaml") . | sha256sum }}
      labels:
        {{- include "oven.labels" . | nindent 8 }}
    spec:
      containers:
        - name: {{ .Chart.Name }}
          image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
          env:
            - name: NAMESPACE
              value: {{ .Release.Namespace }}
            {{- range $name, $value := .Values.env }}
            - name: {{ $name }}
              value: {{ $value | quote }}
            {{- end }}
          ports:
            - name: http
              containerPort: {{ .Values.port }}
          {{- with .Values.livenessProbe }}
          livenessProbe:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          resources:
            {{- toYaml .Values.resources | nindent 12 }}
"""
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "oven.fullname" . }}
data:
  heat: {{ .Values.heat | quote }}
  recipe.ini: |
    {{- .Files.Get "files/recipe.ini" | nindent 4 }}
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata:
  name: {{ include "oven.fullname" . }}
spec:
  selector: {app.kubernetes.io/instance: {{ .Release.Name }}}
  ports:
    - port: {{ .Values.service.port }}
      targetPort: http
"""
VALUES = """\
# What every environment has.
replicaCount: 1
image:
  repository: registry.test/oven
  tag: "1.0"   # the last that baked
port: 8000
service:
  port: 80
heat: 220
env:
  LEVEL: info
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
resources:
  limits:
    cpu: 100m
    memory: 64Mi
autoscaling:
  enabled: false
"""
OVEN = {
    "oven/Chart.yaml": "apiVersion: v2\nname: oven\nversion: 0.3.0\nappVersion: '0.9'\n",
    "oven/values.yaml": VALUES,
    "oven/files/recipe.ini": "[bread]\nflour = 500\n",
    "oven/templates/_helpers.tpl": HELPERS,
    "oven/templates/deployment.yaml": DEPLOYMENT,
    "oven/templates/config.yaml": CONFIG,
    "oven/templates/service.yaml": SERVICE,
    "oven/templates/NOTES.txt": "Bake with {{ .Release.Name }}: {{ .Values.image.tag }}\n",
}
PROD, TEST = "oven/values-prod.yaml", "envs/test.yaml"
ENVIRONMENTS = {
    **OVEN,
    PROD: "# production\nreplicaCount: 3   # for three tills\nimage:\n  tag: 9.9   # bumped\n",
    TEST: "image:\n  tag: 9.9\n",
}
RELEASES = ("oven=prod/shop:values-prod.yaml", f"oven=test/shop:{TEST}")
"""As `--release` takes them."""

APPLICATION = """\
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: shop
  namespace: argocd
spec:
  project: default
  source:
    repoURL: https://git.test/bakery.git
    targetRevision: main
    path: oven
    helm:
      valueFiles:
        - values-prod.yaml
  destination:
    server: https://kubernetes.default.svc
    namespace: prod
"""
